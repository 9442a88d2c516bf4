#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the RPM packages of packaging/rpm on Debian and tries them: rpmlint, what is in which package, what they provide
# and require, a first message in roots that have nothing of outboxd but the packages, an upgrade, that erasing them leaves
# nothing, and what becomes of relays that run under systemd.
#
#   check-rpm.sh [TARBALL]    without a tarball of `make dist` one is made from this checkout
#
# The packages are put into $OUTBOX_RPM_DIR, if that is set. To be run by root, for the roots; it builds as nobody. 77
# where it cannot be run. Its environment is rpmbuild's: CC="ccache gcc" with a CCACHE_DIR of nobody's is quicker.
# BuildRequires are Fedora's names and are not asked for; scripts/deps.sh has Debian's.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
tarball=${1:+$(realpath "$1")}

cannot() {
    echo "check-rpm: $*" >&2
    exit 77
}
[ "$(id -u)" = 0 ] || cannot "only root can make roots and try packages in them"
for tool in rpmbuild rpmlint setpriv; do
    command -v $tool >/dev/null || cannot "$tool is missing (Debian: rpm, rpmlint, util-linux)"
done
work=$(mktemp -d /var/tmp/outbox-rpm-XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
version=$(sed -n 's/^AC_INIT(\[outboxd\], \[\([^]]*\)\].*/\1/p' configure.ac)
isa=$(rpm --eval '%{?_isa}')
failed=0
say() { echo "check-rpm: $*"; }
wrong() {
    echo "check-rpm: FAILED: $*" >&2
    failed=1
}

# ---- the tarball, and the packages, by a user who is nobody

home=$work/home
as_nobody() { HOME=$home setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
mkdir -p "$home/SOURCES" "$home/tmp"
make_tarball() {
    mkdir "$home/source" "$home/build"
    git ls-files -z | xargs -0 cp -P --parents -t "$home/source"
    chown -R nobody:nogroup "$home"
    (cd "$home/source" && as_nobody ./autogen.sh)
    (cd "$home/build" && as_nobody ../source/configure --prefix=/usr && as_nobody make dist)
    tarball=$home/build/outboxd-$version.tar.xz
}
if [ -z "$tarball" ]; then
    make_tarball >"$work/dist.log" 2>&1 || {
        tail -n 30 "$work/dist.log"
        exit 1
    }
fi

cp "$tarball" "$home/SOURCES/outboxd-$version.tar.xz"
cp packaging/rpm/outboxd.spec packaging/rpm/outboxd.rpmlintrc packaging/rpm/macros.debian "$home/"
cp etc/outboxd.sysusers "$home/SOURCES/"
chown -R nobody:nogroup "$home"

# build LOG OPTION...
build() {
    local log=$1
    shift
    (cd "$home" && as_nobody rpmbuild --nodeps --load macros.debian --buildroot "$home/root" \
        --define "_topdir $home" --define "_tmppath $home/tmp" --define "_dbpath $home/db" "$@" outboxd.spec) >"$log" 2>&1 || {
        grep -vE '^(make|libtool|gcc|/bin/)' "$log" | tail -n 40
        echo "check-rpm: rpmbuild failed; its whole log is $log" >&2
        trap - EXIT
        exit 1
    }
}
build "$work/build.log" -ba --noclean
grep -q '^warning: ' "$work/build.log" && wrong "rpmbuild warns: $(grep '^warning: ' "$work/build.log")"
# The same once more as a later release, which is an upgrade.
build "$work/later.log" -bb --short-circuit --noclean --define 'dist .1'
mkdir "$work/later" "$work/rpms"
find "$home/RPMS" -name "*-1.1.*.rpm" -exec mv -t "$work/later" {} +
find "$home/RPMS" "$home/SRPMS" -name '*.rpm' -exec mv -t "$work/rpms" {} +
say "packages: $(cd "$work/rpms" && echo ./*.rpm | sed 's|\./||g')"
source_package=$(echo "$work"/rpms/*.src.rpm)
mkdir "$work/binary"
mv "$work"/rpms/*.rpm "$work/binary/"
mv "$work/binary/$(basename "$source_package")" "$work/"
packages=("$work"/binary/*.rpm)
if [ -n "${OUTBOX_RPM_DIR:-}" ]; then
    mkdir -p "$OUTBOX_RPM_DIR"
    cp "${packages[@]}" "$work/$(basename "$source_package")" "$OUTBOX_RPM_DIR/"
fi

# ---- rpmlint

rpmlint --rpmlintrc packaging/rpm/outboxd.rpmlintrc packaging/rpm/outboxd.spec "$work/$(basename "$source_package")" \
    "${packages[@]}" >"$work/rpmlint.log" 2>&1 || wrong "rpmlint"
grep -E ': [EW]: ' "$work/rpmlint.log" && wrong "rpmlint has something to say"
say "rpmlint: $(tail -n 1 "$work/rpmlint.log")"

# ---- what is in which package, and the names of it

names() { rpm -qp --qf '%{NAME}\n' "$@" 2>/dev/null | sort; }
files() { rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$@" 2>/dev/null | grep -v '^d' | cut -d ' ' -f 2; }
diff <(names "${packages[@]}") <(
    printf '%s\n' outboxd outboxd-devel outboxd-doc outboxd-libs
    for folder in plugins/*/; do echo "outboxd-$(basename "$folder")"; done | sort
) || wrong "there is not one package for each plugin"
twice=$(for package in "${packages[@]}"; do files "$package"; done | sort | uniq -d)
[ -z "$twice" ] || wrong "in more than one package: $twice"
for package in "${packages[@]}"; do
    say "$(basename "$package"): $(files "$package" | wc -l) files"
done

# ---- the plugin ABI

header=sdk/include/outbox/abi.h
abi_major=$(sed -n 's/^#define OUTBOX_ABI_MAJOR \([0-9]*\).*/\1/p' $header)
abi_minor=$(sed -n 's/^#define OUTBOX_ABI_MINOR \([0-9]*\).*/\1/p' $header)
ability="outboxd-plugin-abi($abi_major)"
of() { echo "$work"/binary/"$1"-"$version"-*.rpm; }
# asks WHAT PACKAGE: its capabilities that are about us.
asks() { rpm -qp "--$1" "$(of "$2")" 2>/dev/null; }
for package in outboxd outboxd-libs; do
    for name in "$ability" "$ability$isa"; do
        asks provides $package | grep -qxF "$name = $abi_major.$abi_minor" || wrong "$package does not provide $name"
    done
done
for folder in plugins/*/; do
    plugin=outboxd-$(basename "$folder")
    needs=$(asks requires "$plugin" | grep '^outboxd')
    [[ $needs =~ ^"$ability$isa >= $abi_major."[0-9]+$ ]] || wrong "$plugin requires of outboxd: ${needs:-nothing}"
    asks provides "$plugin" | grep -q '\.so' && wrong "$plugin provides a library"
done
# Nobody but the ABI is what is missed of outboxd where a plugin is installed alone.
mkdir "$work/none"
misses() {
    rpm --root "$work/none" --dbpath /db --test -i "$@" 2>&1 |
        sed -n 's/^[[:space:]]*\(outboxd.*\) is needed by.*/\1/p' | sort -u
}
[ "$(misses "$(of outboxd-pub-exec)")" = "$ability$isa >= $abi_major.0" ] || wrong "outboxd-pub-exec alone misses $(misses "$(of outboxd-pub-exec)")"
[ -z "$(misses "$(of outboxd-pub-exec)" "$(of outboxd-libs)")" ] || wrong "outboxd-libs does not satisfy outboxd-pub-exec"
[ -z "$(misses "${packages[@]}")" ] || wrong "all packages together miss $(misses "${packages[@]}")"

# ---- roots

# furnish ROOT PROGRAM...: programs of this machine and the libraries that they and the packages' want.
furnish() {
    local root=$1 what
    shift
    for what in "$@"; do
        what=$(command -v "$what")
        install -D "$(realpath "$what")" "$root$what"
    done
    mkdir -p "$root/lib64" "$root/etc" "$root/dev" "$root/tmp" "$root/proc"
    chmod 1777 "$root/tmp"
    [ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
    { find "$root/usr" "$root/bin" "$root/sbin" -type f -print0 2>/dev/null | xargs -0 ldd 2>/dev/null || :; } |
        sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u | while read -r what; do
        [ -e "$root$what" ] || install -D "$(realpath "$what")" "$root$what"
    done
}
# Debian's rpm wants to be told that it is meant.
forced=$(! rpm --force-debian --version >/dev/null 2>&1 || echo --force-debian)
# What is there, but rpm's own files.
inventory() { (cd "$1" && find . -path ./db -prune -o -printf '%y %p\n' | sort); }
in_root() {
    local root=$1
    shift
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 chroot "$root" "$@"
}

# first_message ROOT USER: as one without rights.
first_message() {
    local root=$1 user=$2
    mkdir -p "$root/var/lib/outboxd"
    chown "$user:$user" "$root/var/lib/outboxd"
    cat >"$root/tmp/first.ini" <<'INI'
[store]
plugin = sqlite
path = /var/lib/outboxd/first.db
[publisher file]
plugin = exec
command = /usr/bin/tee -a /var/lib/outboxd/first.txt
[router]
fallback = file
INI
    local run=(in_root "$root" /usr/bin/setpriv "--reuid=$user" "--regid=$user" --clear-groups /usr/bin/outboxd)
    "${run[@]}" plugins
    "${run[@]}" check -c /tmp/first.ini && "${run[@]}" init -c /tmp/first.ini &&
        "${run[@]}" send -c /tmp/first.ini --topic hello world && "${run[@]}" run -c /tmp/first.ini --once || return
    [ "$(cat "$root/var/lib/outboxd/first.txt")" = world ] || return
    "${run[@]}" list -c /tmp/first.ini --status processed | grep -q hello || return
    rm -r "$root/tmp/first.ini" "$root/var/lib/outboxd"
}

# An empty one: no scripts, no users, no shell.
root=$work/empty
mkdir "$root"
rpm --root "$root" --dbpath /db --nodeps --noscripts --nouser --nogroup -i "${packages[@]}" 2>"$work/empty.log" ||
    wrong "installing into an empty root: $(cat "$work/empty.log")"
furnish "$root" setpriv tee
if first_message "$root" 65534 >"$work/first.log" 2>&1; then
    say "a first message in a root with the packages and their libraries alone; no shell there"
else
    wrong "a first message in an empty root: $(cat "$work/first.log")"
fi
plugins=$(in_root "$root" /usr/bin/outboxd plugins | grep -cE '^(store|publisher) ')
[ "$plugins" = "$(find plugins -mindepth 1 -maxdepth 1 -type d | wc -l)" ] || wrong "outboxd lists $plugins plugins"

# One with what scripts want: the user is made, the file of an administrator survives an upgrade, nothing else stays.
root=$work/small
mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
for what in bin sbin lib lib64; do ln -s usr/$what "$root/$what"; done
furnish "$root" sh groupadd useradd nologin getent setpriv tee
furnish "$root" # of what is there now
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo 'passwd: files' >"$root/etc/nsswitch.conf"
cp /etc/login.defs "$root/etc/"
rpm --root "$root" --dbpath /db --initdb
before=$(inventory "$root")
change() {
    if ! rpm ${forced:+"$forced"} --root "$root" --dbpath /db --nodeps "$@" >"$work/change.log" 2>&1 || [ -s "$work/change.log" ]; then
        wrong "rpm $1: $(cat "$work/change.log")"
    fi
}
change -i "${packages[@]}"
furnish "$root"
[ "$(in_root "$root" getent passwd outboxd | cut -d : -f 6,7)" = /var/lib/outboxd:/usr/sbin/nologin ] || wrong "there is no user outboxd"
rights() { (cd "$root/etc/outboxd" && in_root "$root" getent group outboxd | cut -d : -f 3 | xargs -I GID test "$(stat -c '%u:%g %a' .)" = "0:GID 750"); }
rights || wrong "/etc/outboxd is $(stat -c '%u:%g %a' "$root/etc/outboxd")"
echo '# mine' >>"$root/etc/outboxd/outboxd.ini.sample"
cp "$root/etc/outboxd/outboxd.ini.sample" "$root/etc/outboxd/outboxd.ini"
change -U "$work"/later/*.rpm
[ "$(rpm --root "$root" --dbpath /db -qa | grep -c -- "-$version-1\.1")" = ${#packages[@]} ] || wrong "the upgrade left packages behind"
[ "$(tail -n 1 "$root/etc/outboxd/outboxd.ini.sample")" = '# mine' ] || wrong "an upgrade changed the administrator's file"
rights || wrong "/etc/outboxd after an upgrade is $(stat -c '%u:%g %a' "$root/etc/outboxd")"
if first_message "$root" "$(in_root "$root" getent passwd outboxd | cut -d : -f 3)" >"$work/first.log" 2>&1; then
    say "a first message by the user outboxd after an upgrade"
else
    wrong "a first message after an upgrade: $(cat "$work/first.log")"
fi
# A backend goes without the relay, and the relay without asking for it.
change -e outboxd-pub-exec
in_root "$root" /usr/bin/outboxd plugins | grep -q exec && wrong "outboxd-pub-exec is erased, but still there"
rm "$root/etc/outboxd/outboxd.ini"
rpm --root "$root" --dbpath /db -qa | xargs rpm ${forced:+"$forced"} --root "$root" --dbpath /db --nodeps -e >"$work/change.log" 2>&1 || wrong "rpm -e: $(cat "$work/change.log")"
grep -v 'outboxd.ini.sample saved as' "$work/change.log" && wrong "rpm -e has something to say"
# What an administrator changed may stay, the user, and folders that are of the system, where other packages would have them.
left=$(diff <(echo "$before") <(inventory "$root") | sed -n 's/^> //p' | grep -E '^[^d]|outbox' |
    grep -vE '^. \./(etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|etc/\.pwd\.lock|etc/outboxd(/outboxd.ini.sample.rpmsave)?|usr/lib(64)?/(x86_64-linux-gnu/.*|ld-linux.*))$' || :)
[ -z "$left" ] || wrong "erasing left: $left"
say "installed with its scripts, upgraded, erased"

# ---- relays that run: what an upgrade restarts, and what it leaves alone

# In a root of this machine's release, with this machine's rpm and the libraries that the root lacks.
furnish "$root" rpm
mkdir -p "$root/srv" "$root/usr/lib/rpm"
cp /usr/lib/rpm/{rpmrc,macros} "$root/usr/lib/rpm/"
mv "$work/later" "$root/srv/later"
cp -r "$work/binary" "$root/srv/first"
cat >"$root/srv/relays.sh" <<'TEST'
set -eu
trap 'echo "line $LINENO: $BASH_COMMAND"; cat /srv/said; journalctl --no-pager -n 20 -u "outboxd*"' ERR
change() { rpm --force-debian --dbpath /srv/db --nodeps "$@" >/srv/said 2>&1; }
process() { systemctl show -p MainPID --value "$1"; }
# As Fedora has it, and Debian not.
mkdir -p /etc/systemd/system-preset
echo 'disable *' >/etc/systemd/system-preset/99-default.preset
change -i /srv/first/*.rpm
for unit in outboxd outboxd@second; do [ "$(systemctl is-active $unit) $(systemctl is-enabled $unit)" = 'inactive disabled' ]; done
install -d -o outboxd -g outboxd /var/lib/outboxd
configure() { # NAME PUBLISHER URL OPTION...
    printf '%s\n' '[store]' 'plugin = sqlite' "path = /var/lib/outboxd/$1.db" '[publisher a]' "plugin = $2" "url = $3" \
        "${@:4}" '[router]' 'fallback = a' >"/etc/outboxd/$1.ini"
    chown root:outboxd "/etc/outboxd/$1.ini"
    chmod 640 "/etc/outboxd/$1.ini"
    setpriv --reuid=outboxd --regid=outboxd --clear-groups outboxd init -c "/etc/outboxd/$1.ini"
}
configure outboxd http http://127.0.0.1:9/ 'allow_private = yes'
configure second redis redis://127.0.0.1:9
systemctl enable --now outboxd outboxd@second
one=$(process outboxd) two=$(process outboxd@second)
change -e outboxd-pub-http
[ "$(process outboxd) $(process outboxd@second)" = "$one $two" ]
mkdir /srv/apart
mv /srv/later/outboxd-pub-http-* /srv/apart
change -U /srv/later/*.rpm
cat /srv/said
grep -q 'outboxd.service keeps the program' /srv/said
grep -q 'outboxd-pub-http' /srv/said
[ "$(grep -c 'outboxd@second' /srv/said)" = 0 ]
[ "$(process outboxd)" = "$one" ]
[ "$(process outboxd@second)" != "$two" ]
two=$(process outboxd@second)
change -i /srv/apart/*.rpm
[ ! -s /srv/said ]
[ "$(process outboxd)" != "$one" ]
[ "$(process outboxd@second)" = "$two" ] # nothing that it has loaded was replaced
for unit in outboxd outboxd@second; do [ "$(systemctl is-active $unit)" = active ]; done
one=$(process outboxd) two=$(process outboxd@second)
change -e $(rpm --dbpath /srv/db -qa)
[ ! -e "/proc/$one" ]
[ ! -e "/proc/$two" ]
[ -z "$(find /etc/systemd/system -name 'outboxd*')" ]
TEST
# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
code=0
tar -C "$root" -c srv usr/bin/rpm usr/lib | scripts/in-root.sh --systemd "$release" --bare bash -c '
    tar -C / -x --skip-old-files --keep-directory-symlink --no-same-owner
    exec bash /srv/relays.sh' >"$work/relays.log" 2>&1 || code=$?
case $code in
0) say "under systemd: relays restart when packages change, but not the one whose plugin is missing; erased, they end" ;;
77) say "under systemd: not tried: $(tail -n 1 "$work/relays.log")" ;;
*) wrong "relays that run, under systemd: $(cat "$work/relays.log")" ;;
esac

[ $failed = 0 ] && say "passed"
exit $failed
