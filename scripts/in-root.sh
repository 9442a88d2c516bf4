#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command on a copy of this checkout in a bare Debian of another release: its own root, processes, host name
# and network, which has the loopback only. The command's exit code is that of this script, but 77 where there can be
# no such root (not root, no mirror) and 2 for a wrong call.
#
#   in-root.sh [--fresh | --systemd] RELEASE LEVEL COMMAND...   such as: in-root.sh trixie --services scripts/test.sh --portable
#
# LEVEL is what scripts/deps.sh installs there: --build, --services, --tests, --ci or --packaging; or --bare: nothing, but what --services
# would install, and sudo, are packages in a folder of the root, which its apt (after `apt-get update`) installs from without a network.
# The root is kept for a week, in $OUTBOX_ROOTS_DIR or else /var/tmp/outbox-roots, and so is what COMMAND leaves in it outside of
# the copy.
#   --fresh      COMMAND has a root to itself, of which nothing is kept; several may run at a time
#   --systemd    the same, and systemd is process 1 there: COMMAND is a unit of it, begun when the system is up
set -eu
cd "$(dirname "$0")/.."

mode=kept
case ${1:-} in --fresh | --systemd) mode=${1#--} && shift ;; esac
if ! [[ ${1:-} =~ ^[a-z]+$ && ${2:-} =~ ^--(bare|build|services|tests|ci|packaging)$ && $# -gt 2 ]]; then
    sed -n '3,15s/^# \{0,1\}//p' "$0"
    exit 2
fi
release=$1 level=$2
shift 2
roots=${OUTBOX_ROOTS_DIR:-/var/tmp/outbox-roots}
root=$roots/$release$level
patience=120 # seconds for systemd to be up

cannot() {
    echo "in-root: $*" >&2
    exit 77
}

[ "$(id -u)" = 0 ] || cannot "a root of $release can be made by root only"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing; scripts/deps.sh --ci installs it"

# ---- the root

# The mirror that apt has on this machine, if that is a Debian.
mirror() {
    # shellcheck disable=SC2016  # apt's
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 2>/dev/null |
        awk '$2 == "Debian" && $3 == "Debian" {print $1; found = 1; exit} END {if (!found) print "http://deb.debian.org/debian"}'
}

# For --bare, run in the root by mmdebstrap: apt has one source, a folder with what deps.sh would install.
cat_fill_folder() {
    cat <<'END'
set -eu
echo 'APT::Get::Download-Only "true"; APT::Keep-Downloaded-Packages "true";' >/tmp/apt.conf
APT_CONFIG=/tmp/apt.conf /tmp/deps.sh --services
APT_CONFIG=/tmp/apt.conf apt-get install -y -qq --no-install-recommends sudo adduser >/dev/null
mkdir /srv/packages
mv /var/cache/apt/archives/*.deb /srv/packages
cd /srv/packages
for package in *.deb; do
    dpkg-deb -f "$package"
    echo "Filename: ./$package"
    echo "Size: $(stat -c %s "$package")"
    echo "SHA256: $(sha256sum "$package" | cut -d ' ' -f 1)"
    echo
done >Packages
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /tmp/apt.conf
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list
apt-get update -qq
END
}

made_from() { { declare -f make_root cat_fill_folder && cat scripts/deps.sh; } | sha256sum; }

# There is one that is not too old, and is what these scripts would make now.
is_made() { [ -n "$(find "$root/made" -mtime -7 2>/dev/null)" ] && [ "$(made_from)" = "$(cat "$root/made")" ]; }

# What is mounted in it meanwhile is in a namespace of its own.
make_root() {
    local hooks=(--customize-hook='copy-in scripts/deps.sh /tmp')
    rm -rf --one-file-system "$root"
    # apt's ways to the mirror: proxies, and what it thinks of dates.
    apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$roots/apt.conf" || :
    if [ "$level" = --bare ]; then
        cat_fill_folder >"$roots/fill.sh"
        hooks+=(--customize-hook="chroot \"\$1\" sh -s <$roots/fill.sh")
    else
        hooks+=(--customize-hook="chroot \"\$1\" /tmp/deps.sh $level")
    fi
    unshare --mount mmdebstrap --quiet --variant=apt --include=systemd-sysv,dbus --aptopt="$roots/apt.conf" \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-include=/usr/share/doc/outboxd*' "${hooks[@]}" "$release" "$root" "$(mirror)" || return
    echo '127.0.0.1 localhost outbox' >"$root/etc/hosts"
    echo outbox >"$root/etc/hostname"
    made_from >"$root/made"
}

# A folder to throw away, whose "root" is the root: what is written there goes to "upper". Where the kernel has no
# overlays it is a copy.
make_fresh() {
    find "$roots" -maxdepth 1 -name 'fresh-*' -mtime +1 -exec rm -rf --one-file-system {} + # of runs that were killed
    fresh=$(mktemp -d "$roots/fresh-XXXXXX")
    mkdir "$fresh"/{root,upper,work}
    chmod 755 "$fresh" "$fresh/root" "$fresh/upper"
    overlay=lowerdir=$root,upperdir=$fresh/upper,workdir=$fresh/work
    place=$fresh/upper
    if ! unshare --mount mount -t overlay overlay -o "$overlay" "$fresh/root" 2>/dev/null; then
        overlay=
        place=$fresh/root
        cp -a "$root/." "$place"
    fi
    mkdir -p "$place"/{etc,var/tmp}
    chmod 1777 "$place/var/tmp"
    # Without an id systemd would take this for the first start of the machine, and enable every unit.
    tr -d - </proc/sys/kernel/random/uuid >"$place/etc/machine-id"
}

# ---- in it

environment=(HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}")

# What the inner shells begin with. The loopback of a new network is down; mmdebstrap is written in Perl, so it is there.
# shellcheck disable=SC2016  # the inner shells'
inner='
    set -eu
    root=$1 overlay=$2
    shift 2
    hostname outbox
    perl -e "socket(S, 2, 2, 0) && ioctl(S, 0x8914, \$_ = pack(q(a16sx22), q(lo), 1)) || die"
    if [ -n "$overlay" ]; then mount -t overlay overlay -o "$overlay" "$root"; else mount --bind "$root" "$root"; fi
    mount -t proc proc "$root/proc"
'

# enter COMMAND...: in the root, in namespaces of its own that end with it.
enter() {
    # shellcheck disable=SC2016  # the inner shell's
    unshare --mount --pid --fork --kill-child --uts --ipc --net bash -c "$inner"'
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm" -o mode=1777
        exec chroot "$root" env -i "$@"' enter "$here" "$overlay" "${environment[@]}" "$@"
}

# Processes in namespaces of its own whose first one is systemd, in a control group of its own. systemd gets a /dev with no
# more than programs want, and may not change what all share: /proc/sys, /sys, modules of the kernel.
boot() {
    # shellcheck disable=SC2016  # the inner shells'
    setpriv --pdeathsig KILL unshare --mount bash -c '
        set -eu
        mount -t cgroup2 cgroup2 /mnt
        mkdir "/mnt/$1"
        echo $$ >"/mnt/$1/cgroup.procs"
        umount /mnt
        shift
        exec setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup bash -c "$@"' boot "${fresh##*/}" "$inner"'
        read -r pid _ </proc/self/stat # as the outer /proc has it
        mount --bind "$root/proc/sys" "$root/proc/sys" -o ro
        mount -t tmpfs tmpfs "$root/run" -o mode=755
        mount -t tmpfs tmpfs "$root/tmp" -o mode=1777
        mount -t tmpfs tmpfs "$root/dev" -o mode=755
        for device in null zero full random urandom tty; do
            touch "$root/dev/$device"
            mount --bind "/dev/$device" "$root/dev/$device"
        done
        mkdir "$root/dev/shm" "$root/dev/pts"
        mount -t tmpfs tmpfs "$root/dev/shm" -o mode=1777
        mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666,mode=620,gid=5
        ln -s pts/ptmx "$root/dev/ptmx"
        ln -s /proc/self/fd "$root/dev/fd"
        for n in 0,stdin 1,stdout 2,stderr; do ln -s "/proc/self/fd/${n%,*}" "$root/dev/${n#*,}"; done
        mount -t sysfs sysfs "$root/sys" -o ro
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
        echo "$pid" >"$1/pid"
        cd "$root"
        pivot_root . mnt # in a chroot nobody may make the namespaces of users that units ask for
        umount -l /mnt
        exec setpriv --bounding-set -sys_module env -i container=outbox PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            /lib/systemd/systemd --log-target=journal --unit=multi-user.target' \
        boot "$here" "$overlay" "$fresh" </dev/null >"$fresh/boot.log" 2>&1 &
    booted=$!
}

within() { nsenter -t "$(cat "$fresh/pid")" -a --root="/proc/$(cat "$fresh/pid")/root" --wd=/ env -i "${environment[@]}" "$@"; }

not_up() {
    cat "$fresh/boot.log" >&2
    echo "in-root: systemd of $release is not up: $*" >&2
    exit 1
}

# Also when a unit failed: which one matters is for COMMAND to say.
wait_until_up() {
    local end=$((SECONDS + patience)) state
    until [ -s "$fresh/pid" ] && within test -S /run/systemd/private 2>/dev/null; do
        if [ $SECONDS -gt $end ] || ! kill -0 "$booted" 2>/dev/null; then not_up "no process"; fi
        sleep 0.1
    done
    state=$(within timeout $patience systemctl is-system-running --wait) || :
    case $state in
    running) ;;
    degraded) within systemctl list-units --failed --plain --no-legend >&2 ;;
    *) within systemctl list-jobs >&2 || :; not_up "$state" ;;
    esac
}

# The end of the first process is that of all, and of what is mounted.
cleanup() {
    if [ -n "$booted" ]; then
        kill -KILL "$booted" 2>/dev/null || :
        wait "$booted" 2>/dev/null || :
        # shellcheck disable=SC2016  # the inner shell's
        unshare --mount bash -c '
            mount -t cgroup2 cgroup2 /mnt
            end=$((SECONDS + 10))
            until find "/mnt/$1" -depth -type d -exec rmdir {} + 2>/dev/null || [ $SECONDS -gt $end ]; do sleep 0.1; done' \
            cleanup "${fresh##*/}"
    fi
    rm -rf --one-file-system "$work" "$fresh"
}

unshare --mount --pid --fork --uts --ipc --net true 2>/dev/null || cannot "this container may not make namespaces"
[ "$mode" != systemd ] || unshare --mount --cgroup mount -t cgroup2 cgroup2 /mnt 2>/dev/null ||
    cannot "this container has no control groups for systemd"
mkdir -p "$roots"
if [ ! -O "$roots" ] || [ -L "$roots" ]; then cannot "$roots belongs to somebody else"; fi
exec 9>"$roots/$release$level.lock"
if [ "$mode" = kept ]; then flock 9; else flock -s 9; fi
until is_made; do
    flock 9
    is_made || make_root || cannot "no root of $release could be made"
    [ "$mode" = kept ] || flock -s 9 # nobody may change the root below its copies
done
here=$root place=$root overlay='' fresh='' booted='' work=''
trap cleanup EXIT
if [ "$mode" != kept ]; then
    make_fresh
    here=$fresh/root
fi
work=$(mktemp -d "$place/var/tmp/outbox-XXXXXX")
scripts/list-files.sh | xargs -0 cp -d --parents -t "$work"
inside=${work#"$place"}
if [ "$mode" = systemd ]; then
    boot
    wait_until_up
    within systemd-run --quiet --wait --pipe --collect --unit=in-root --working-directory="$inside" \
        "${environment[@]/#/--setenv=}" "$@"
else
    # shellcheck disable=SC2016  # the inner shell's
    enter sh -c 'cd "$1" && shift && exec "$@"' in "$inside" "$@"
fi
