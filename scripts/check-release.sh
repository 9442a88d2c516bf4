#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything that a release has to pass, hours of it, in parts that can run one by one. Each part leaves a log in
# $OUTBOX_RELEASE_LOGS, or else /var/tmp/outbox-release, below the name of the commit; a part that has passed with the same
# commit is not repeated. Ends with a table of the parts, which begins with the commit.
#
#   check-release.sh              all parts, those first that are quick
#   check-release.sh PART...      only these
#   check-release.sh --table      runs nothing; shows what has run
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD

# part NAME MINUTES WHAT: the list. The minutes are those of two quiet processors.
parts() {
    cat <<'END'
packages    9 Debian packages from the tarball, on Debian 12 and 13: lintian, blhc, each comes and goes
walk       12 packages on both: their autopkgtests; a new user's way: install, swap, upgrade, remove, purge
units       8 the units under a real systemd of both
readme     15 the commands of the READMEs on both, as root and with sudo
builds      9 the same bytes from two folders; RPM packages; the container
debian12   45 every suite and check in a bare Debian 12
debian13   40 every suite in a bare Debian 13
long       20 coverage, the SDK alone in a bare root, long fuzzing
faults    150 every fault scenario in full; it writes tests/faults/TABLE.md
END
}

commit=$(git describe --always --abbrev=12 --exclude '*') || exit 1
dirty=$(git status --porcelain --untracked-files=no)
[ -z "$dirty" ] || commit=$commit-dirty
logs=${OUTBOX_RELEASE_LOGS:-/var/tmp/outbox-release}/$commit
debs=$logs/packages
mkdir -p "$logs"
if [ ! -O "$logs/.." ] || [ -L "$logs" ]; then
    echo "check-release: $logs belongs to somebody else" >&2
    exit 1
fi

# run_part NAME: the commands of a part; the first that fails ends it.
run_part() (
    set -e
    export CI=1
    case $1 in
    packages) scripts/check-packages.sh --out "$debs" bookworm trixie ;;
    walk)
        for release in bookworm trixie; do
            scripts/check-autopkgtests.sh "$release" "$debs/$release"
            scripts/walk-packages.sh "$release" "$debs/$release"
        done
        ;;
    units)
        rm -rf "$logs/units"
        ./autogen.sh
        mkdir "$logs/units"
        cd "$logs/units"
        "$top/configure" --prefix=/usr --sysconfdir=/etc
        make -j"$(nproc)"
        make install DESTDIR="$logs/units/stage"
        for release in bookworm trixie; do
            "$top/scripts/check-units.sh" "$logs/units/stage" "$release"
        done
        ;;
    readme)
        for release in bookworm trixie; do
            scripts/check-readme.sh "$release"
        done
        ;;
    builds)
        scripts/check-reproducible.sh --root
        scripts/check-rpm.sh
        scripts/check-container.sh
        ;;
    debian12) scripts/in-root.sh --fresh bookworm --ci scripts/test.sh --here ;;
    debian13) scripts/in-root.sh --fresh trixie --ci scripts/test.sh --suites ;;
    long) scripts/test.sh --long ;;
    faults) scripts/test.sh --faults ;;
    esac
)

state() { cat "$logs/$1.state" 2>/dev/null || echo 'not run'; }

table() {
    echo "outboxd $(sed -n 's/^AC_INIT(\[outboxd\], \[\([^]]*\)\].*/\1/p' configure.ac), commit $commit${dirty:+, with changes that are not committed}"
    parts | while read -r name _ what; do printf '  %-10s %-28s %s\n' "$name" "$(state "$name")" "$what"; done
}

case ${1:-} in
--table)
    table
    exit
    ;;
-*)
    sed -n '3,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

scripts/deps.sh --release || exit 1
failed=0
for name in "${@:-$(parts | awk '{print $1}')}"; do
    for part in $name; do
        parts | grep -q "^$part " || {
            echo "check-release: there is no part $part; the parts are: $(parts | awk '{print $1}' | paste -sd ' ')" >&2
            exit 2
        }
        if [ -z "$dirty" ] && [[ $(state "$part") == passed* ]]; then
            echo "$part has passed with this commit"
            continue
        fi
        began=$SECONDS
        echo "$part: see $logs/$part.log"
        rm -f "$logs/$part.state"
        run_part "$part" >"$logs/$part.log" 2>&1 # in a condition, `set -e` would be ignored in it
        code=$?
        result=passed
        [ $code = 0 ] || {
            result=failed failed=1
            tail -n 30 "$logs/$part.log"
        }
        echo "$result in $((SECONDS - began)) s, $(date -u +%F)" >"$logs/$part.state"
        echo "$part: $(state "$part")"
    done
done
table
exit $failed
