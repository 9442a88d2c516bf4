#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tries the template of the SDK in a bare Debian that has nothing of outboxd but what is installed, and no other tools than
# those that an author needs: plugins of each kind build in all ways, pass outbox-conform, and are installed. 77 where there
# can be no such root.
#
#   check-sdk-root.sh STAGE [RELEASE]    STAGE is what `make install DESTDIR=STAGE` made, with the prefix /usr
set -eu
stage=${1:?} release=${2:-bookworm}
tools=gcc,libc6-dev,make,pkg-config,autoconf,automake,libtool,meson
libraries=libltdl7,libini-config5,libjson-c5,libuuid1,libsqlite3-0,check

cannot() {
    echo "check-sdk-root: $*" >&2
    exit 77
}
[ "$(id -u)" = 0 ] || cannot "a root can be made by root only"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is missing; scripts/deps.sh --ci installs it"
work=$(mktemp -d /var/tmp/outbox-sdk-XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$work/apt.conf" || :
# shellcheck disable=SC2016  # apt's
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 2>/dev/null |
    awk '$2 == "Debian" && $3 == "Debian" {print $1; exit}')
unshare --mount mmdebstrap --quiet --variant=apt --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io \
    --include="$tools,$libraries" "$release" "$root" "${mirror:-http://deb.debian.org/debian}" ||
    cannot "no root of $release could be made"
cp -a "$stage/usr/." "$root/usr/"
cat >"$root/try.sh" <<'END'
set -eux
ldconfig
cd /root
for kind in pub store rule; do
    outbox-new-plugin $kind bare
    cd $kind-bare
    ./ci.sh
    test "$(find . -name $kind-bare.so | wc -l)" = 3
    make install
    outboxd plugins bare
    rm /usr/lib/outboxd/plugins/$kind-bare.so
    cd ..
done
END
# shellcheck disable=SC2016  # the inner shell's
unshare --mount --pid --fork --kill-child --ipc --net bash -c '
    set -eu
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /try.sh' in "$root"
