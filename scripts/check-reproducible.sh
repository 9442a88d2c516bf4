#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two tarballs of one commit, and two builds of one tarball, must be the same bytes, whoever makes them, where and when.
#
#   check-reproducible.sh               of the commit that is checked out (not of what is not committed)
#   check-reproducible.sh --root        and the tarball also builds, and passes its unit tests, in a bare Debian 12
#   check-reproducible.sh --debs A B    the packages in two folders
#
# What differs between the two: the paths of source and build, the user (if root runs this), umask, language, time zone, date,
# and the number of jobs. The exit code is 77 where there can be no bare root.
set -eu
cd "$(dirname "$0")/.."
export CCACHE_DISABLE=1
unset SOURCE_DATE_EPOCH XZ_OPT TAR_OPTIONS

# compare A B: two files or two folders; shows what differs.
compare() {
    if command -v diffoscope >/dev/null; then
        diffoscope --text-color never --max-text-report-size 20000 "$1" "$2" || :
        return
    fi
    cmp "$1" "$2" || :
    [ "$(head -c 4 "$1")" = $'\x7fELF' ] || return 0
    diff <(readelf -WaS "$1") <(readelf -WaS "$2") | head -20 || :
    diff <(strings -a "$1") <(strings -a "$2") | head -20 || :
}

# same A B NAMES: files of two folders have the same names, modes, targets of links and bytes. NAMES is for find.
same() {
    local one=$1 other=$2 name count=0 bad=0
    shift 2
    diff <(cd "$one" && find . -type f "$@" -printf '%p %m\n' -o -type l -printf '%p %l\n' | sort) \
        <(cd "$other" && find . -type f "$@" -printf '%p %m\n' -o -type l -printf '%p %l\n' | sort) || bad=1
    while IFS= read -r -d '' name; do
        count=$((count + 1))
        if ! cmp -s "$one/$name" "$other/$name"; then
            bad=$((bad + 1))
            echo "differs: $name"
            compare "$one/$name" "$other/$name"
        fi
    done < <(cd "$one" && find . -type f "$@" -print0 | sort -z)
    echo "$count files compared, $bad differences"
    [ $bad = 0 ] && [ $count -gt 0 ]
}

root=no
case ${1:-} in
'') ;;
--root) root=yes ;;
--debs)
    same "${2:?}" "${3:?}" \( -name '*.deb' -o -name '*.ddeb' \)
    exit
    ;;
*)
    sed -n '3,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

work=$(mktemp -d /var/tmp/outbox-reproducible-XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
one=$work/a other=$work/another/much-longer/name
mkdir -p "$one" "$other"
as_other=() later=()
if [ "$(id -u)" = 0 ]; then
    as_other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chown -R 65534:65534 "$work/another"
fi
if command -v faketime >/dev/null; then
    later=(faketime -f +400d)
else
    echo "note: faketime is missing (Debian: faketime), so both are made at one date"
fi
jobs=$(nproc)

# here COMMAND and there COMMAND: the two ways to run a shell's command.
here() (umask 022 && cd "$one" && TZ=UTC LC_ALL=C HOME=$one JOBS=$jobs bash -eu -c "$1") >"$one.log" 2>&1
there() {
    (umask 077 && cd "$other" && TZ=Asia/Kathmandu LC_ALL=C.UTF-8 LANGUAGE=de HOME=$other JOBS=$((jobs + 1)) \
        "${as_other[@]}" "${later[@]}" bash -eu -c "$1") >"$work/another.log" 2>&1
}
both() {
    local first
    here "$1" &
    first=$!
    there "$2" || {
        tail -n 40 "$work/another.log"
        kill $first 2>/dev/null || :
        return 1
    }
    wait $first || {
        tail -n 40 "$one.log"
        return 1
    }
}

echo "two clones of $(git rev-parse --short HEAD), and a tarball of each"
[ -z "$(git status --porcelain)" ] || echo "note: what is not committed is not in them"
git bundle create -q "$work/commit" HEAD # which every user may read
chmod 644 "$work/commit"
clone="git clone -q $work/commit clone && cd clone && ./autogen.sh && mkdir obj && cd obj && ../configure && make dist"
both "$clone" "$clone"
tarball=$(basename "$one"/clone/obj/outboxd-*.tar.xz)
name=${tarball%.tar.xz}
cmp "$one/clone/obj/$tarball" "$other/clone/obj/$tarball" || {
    compare "$one/clone/obj/$tarball" "$other/clone/obj/$tarball"
    exit 1
}
echo "ok      $tarball is the same, $(stat -c %s "$one/clone/obj/$tarball") bytes, sha256 $(sha256sum <"$one/clone/obj/$tarball" | cut -d' ' -f1)"

mkdir "$work/unpacked"
tar -C "$work/unpacked" -xf "$one/clone/obj/$tarball"
scripts/check-dist.sh "$one/clone" "$work/unpacked/$name"
echo "ok      it holds what git holds"

# Neither may want autotools, which the tarball is there to spare.
build="ACLOCAL=false AUTOMAKE=false AUTOCONF=false AUTOHEADER=false && make -j\$JOBS && make install DESTDIR=\$HOME/stage"
both "tar xf clone/obj/$tarball && mkdir $name/build && cd $name/build && ../configure --prefix=/usr $build" \
    "tar xf clone/obj/$tarball && mkdir -p build/of/it && cd build/of/it && \$HOME/$name/configure --prefix=/usr $build"
same "$one/stage" "$other/stage"
echo "ok      both builds installed the same"
! grep -rlF -e "$work" "$one/stage" || {
    echo "these name the folder where they were built"
    exit 1
}
scripts/check-binaries.sh "$one/stage"

if [ $root = yes ]; then
    # A checkout that holds the tarball and the scripts that make the root, since in-root.sh takes what git knows.
    mkdir -p "$work/checkout/scripts"
    cp scripts/in-root.sh scripts/deps.sh scripts/list-files.sh "$work/checkout/scripts/"
    xz -dc "$one/clone/obj/$tarball" >"$work/checkout/$name.tar"
    git -C "$work/checkout" init -q
    git -C "$work/checkout" add .
    # shellcheck disable=SC2016  # the inner shell's
    "$work/checkout/scripts/in-root.sh" bookworm --build bash -eu -c '
        tar xf "$1.tar" && mkdir "$1/build" && cd "$1/build"
        ../configure --prefix=/usr --enable-werror ACLOCAL=false AUTOMAKE=false AUTOCONF=false AUTOHEADER=false >configure.log
        tests=$(make -s list-tests | tr " " "\n" | grep ^tests/unit/ | paste -sd " ")
        make -j"$(nproc)" >make.log 2>&1 || { tail -n 40 make.log; exit 1; }
        make check TESTS="$tests" check_PROGRAMS="$tests" 2>&1 | grep -E "^# |^(FAIL|ERROR)"
        test "${PIPESTATUS[0]}" = 0' tarball "$name"
    echo "ok      the tarball builds in a bare root, and passes its unit tests"
fi
