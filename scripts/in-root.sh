#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command on a copy of this checkout in a bare Debian of another release: its own root, processes, host name
# and network, which has the loopback only. The command's exit code is that of this script, but 77 where there can be
# no such root (not root, no mirror) and 2 for a wrong call.
#
#   in-root.sh RELEASE LEVEL COMMAND...    such as: in-root.sh trixie --services scripts/test.sh --portable
#
# LEVEL is what scripts/deps.sh installs there: --build, --services, --ci or --packaging. The root is kept for a week, in
# $OUTBOX_ROOTS_DIR or else /var/tmp/outbox-roots, and so is what COMMAND leaves in it outside of the copy.
set -eu
cd "$(dirname "$0")/.."

if ! [[ ${1:-} =~ ^[a-z]+$ && ${2:-} =~ ^--(build|services|ci|packaging)$ && $# -gt 2 ]]; then
    sed -n '3,10s/^# \{0,1\}//p' "$0"
    exit 2
fi
release=$1 level=$2
shift 2
roots=${OUTBOX_ROOTS_DIR:-/var/tmp/outbox-roots}
root=$roots/$release$level

cannot() {
    echo "in-root: $*" >&2
    exit 77
}

[ "$(id -u)" = 0 ] || cannot "a root of $release can be made by root only"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing; scripts/deps.sh --ci installs it"

# The mirror that apt has on this machine, if that is a Debian.
mirror() {
    # shellcheck disable=SC2016  # apt's
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 2>/dev/null |
        awk '$2 == "Debian" && $3 == "Debian" {print $1; found = 1; exit} END {if (!found) print "http://deb.debian.org/debian"}'
}

# Unless one is there that is not too old, and has what deps.sh wants now. What is mounted in it meanwhile is in a namespace of its own.
make_root() {
    [ -z "$(find "$root/made" -mtime -7 2>/dev/null)" ] || ! cmp -s scripts/deps.sh "$root/made" || return 0
    rm -rf --one-file-system "$root"
    # apt's ways to the mirror: proxies, and what it thinks of dates.
    apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$roots/apt.conf" || :
    unshare --mount mmdebstrap --quiet --variant=apt --aptopt="$roots/apt.conf" --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='copy-in scripts/deps.sh /tmp' --customize-hook="chroot \"\$1\" /tmp/deps.sh $level" \
        "$release" "$root" "$(mirror)" || return
    echo '127.0.0.1 localhost outbox' >"$root/etc/hosts"
    cp scripts/deps.sh "$root/made"
}

# enter COMMAND...: in the root, in namespaces of its own that end with it.
enter() {
    # shellcheck disable=SC2016  # the inner shell's
    unshare --mount --pid --fork --kill-child --uts --ipc --net bash -c '
        set -eu
        root=$1
        shift
        hostname outbox
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm" -o mode=1777
        exec chroot "$root" env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin CI="${CI:-}" "$@"' \
        enter "$root" "$@"
}

unshare --mount --pid --fork --uts --ipc --net true 2>/dev/null || cannot "this container may not make namespaces"
mkdir -p "$roots"
exec 9>"$roots/$release$level.lock"
flock 9
make_root || cannot "no root of $release could be made"
work=$(mktemp -d "$root/var/tmp/outbox-XXXXXX")
trap 'rm -rf "$work"' EXIT
scripts/list-files.sh | xargs -0 cp -d --parents -t "$work"
# The loopback of a new network is down.
# shellcheck disable=SC2016  # the inner shell's
enter bash -c 'python3 -c "
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh\", b\"lo\", 1))" && cd "$1" && shift && "$@"' in \
    "${work#"$root"}" "$@"
