#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the installed units of systemd under a real systemd, as process 1 of a bare Debian in namespaces of its own: what
# tests/units/test_units.py says. Needs root, mmdebstrap and gcc; 77 where there can be no such root.
#
#   check-units.sh STAGE [RELEASE] [TEST...]    STAGE is what `make install DESTDIR=STAGE` made with --prefix=/usr
#                                               --sysconfdir=/etc; TEST such as Life or Life.test_units_beside_each_other
#
# The root is kept for a week, in $OUTBOX_ROOTS_DIR or else /var/tmp/outbox-roots; what a run does to it is not.
set -eu
cd "$(dirname "$0")/.."
stage=$(realpath "${1:?}") release=${2:-bookworm}
shift $(($# > 2 ? 2 : $#))
packages=systemd,systemd-sysv,dbus,procps,util-linux,python3,postgresql,mosquitto,sqlite3
packages+=,libltdl7,libini-config5,libjson-c5,libuuid1,libsqlite3-0,libsystemd0,libpq5,libmosquitto1
roots=${OUTBOX_ROOTS_DIR:-/var/tmp/outbox-roots}
root=$roots/$release-units

cannot() {
    echo "check-units: $*" >&2
    exit 77
}
[ "$(id -u)" = 0 ] || cannot "a root can be made by root only"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing; scripts/deps.sh --ci installs it"
unshare --mount --pid --fork --uts --ipc --net --cgroup true 2>/dev/null || cannot "this container may not make namespaces"

make_root() {
    # shellcheck disable=SC2016  # apt's
    local mirror='$(REPO_URI) $(ORIGIN) $(LABEL)'
    [ -z "$(find "$root/made" -mtime -7 2>/dev/null)" ] || [ "$(cat "$root/made")" != "$packages" ] || return 0
    rm -rf --one-file-system "$root"
    apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$roots/apt.conf" || :
    mirror=$(apt-get indextargets --format "$mirror" 2>/dev/null | awk '$2 == "Debian" && $3 == "Debian" {print $1; exit}')
    unshare --mount mmdebstrap --quiet --variant=apt --aptopt="$roots/apt.conf" --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$packages" "$release" "$root" "${mirror:-http://deb.debian.org/debian}" || return
    echo "$packages" >"$root/made"
}
mkdir -p "$roots"
if [ ! -O "$roots" ] || [ -L "$roots" ]; then cannot "$roots belongs to somebody else"; fi
exec 9>"$root.lock"
flock 9
make_root || cannot "no root of $release could be made"
flock -u 9

work=$(mktemp -d /var/tmp/outbox-units-XXXXXX)
mkdir "$work/world"
booted=
cleanup() {
    [ -z "$booted" ] || kill -KILL "$booted" 2>/dev/null || :
    [ -z "$booted" ] || wait "$booted" 2>/dev/null || :
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
# A publisher that does as it is told.
${CC:-gcc} -shared -fPIC -I"$stage/usr/include" -DPACKAGE_VERSION='"0"' -o "$work/pub-unruly.so" tests/fixtures/unruly.c

# Process 1 of a world of its own: a copy of the root with what was installed, which is gone with it.
# shellcheck disable=SC2016  # the inner shell's
unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup bash -c '
    set -eu
    mount -t tmpfs tmpfs "$1"
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
    here=$PWD
    cd "$1/root"
    cp -a "$3/usr/." usr/
    cp "$4" usr/lib/outboxd/plugins/
    cp "$here/$5" opt/
    ln -s /dev/null etc/systemd/system/systemd-modules-load.service
    hostname outbox
    echo "127.0.0.1 localhost outbox" >etc/hosts
    mount -t proc proc proc
    for at in run:755 tmp:1777 dev:755; do mount -t tmpfs tmpfs "${at%:*}" -o "mode=${at#*:}"; done
    for d in null zero full random urandom tty; do touch "dev/$d"; mount --bind "/dev/$d" "dev/$d"; done
    mkdir dev/shm dev/pts
    mount -t tmpfs tmpfs dev/shm -o mode=1777
    mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t sysfs sysfs sys -o ro
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    # Not chroot alone: who is in one may not make the namespaces of a sandbox.
    pivot_root . mnt
    umount -l mnt
    mount --make-rshared / # credentials are mounted elsewhere, and appear here
    exec chroot . env -i container=outbox PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal \
        --unit=multi-user.target' boot "$work/world" "$root" "$stage" "$work/pub-unruly.so" \
    tests/units/test_units.py >"$work/boot.log" 2>&1 9>&- &
booted=$!

# inside COMMAND...: in that world.
inside() {
    local one
    one=$(pgrep -P "$booted" -x systemd) || return
    nsenter -t "$one" -a --root="/proc/$one/root" --wd="/proc/$one/root" env -i LANG=C.UTF-8 HOME=/root \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
for _ in $(seq 300); do
    state=$(inside systemctl is-system-running 2>/dev/null || :)
    [[ $state != running && $state != degraded ]] || break
    kill -0 "$booted" 2>/dev/null || break
    sleep 0.2
done
if [[ ${state:-} != running ]]; then
    cat "$work/boot.log"
    echo "check-units: systemd does not come up: ${state:-}" >&2
    inside systemctl --failed --no-pager || :
    exit 1
fi
inside systemctl --version | head -n 1 | sed 's/^/# /'
inside systemd-sysusers
inside ldconfig
inside install -d -o root -g outboxd -m 0750 /etc/outboxd
# As presets of nobody: nothing is enabled, nothing runs.
[ "$(inside systemctl is-enabled outboxd.service)" = disabled ]
inside python3 -u /opt/test_units.py "$@"
