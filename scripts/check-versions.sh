#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every file that names a version says the same: of the program, of the plugin ABI, and of the library's soname.
#
#   check-versions.sh [--release] [SOURCE_TREE]
#
# With --release, as before a tag: NEWS and the changelogs are dated, and nothing says "not released". Files that are not in
# the tree are passed over.
set -eu
release=no
[ "${1:-}" != --release ] || { release=yes; shift; }
cd "${1:-$(dirname "$0")/..}"
export LC_ALL=C
failed=0

# says FILE WHAT FOUND WANTED
says() {
    if [ "$3" = "$4" ]; then
        echo "ok      $1: $2 $3"
    else
        echo "FAILED  $1: $2 is \"$3\", not \"$4\""
        failed=1
    fi
}
# refuse FILE REASON
refuse() {
    echo "FAILED  $1: $2"
    failed=1
}

version=$(sed -n 's/^AC_INIT(\[outboxd\], \[\([^]]*\)\].*/\1/p' configure.ac)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || refuse configure.ac "its version \"$version\" is not MAJOR.MINOR.PATCH"
major=$(sed -n 's/^#define OUTBOX_ABI_MAJOR //p' sdk/include/outbox/abi.h)
minor=$(sed -n 's/^#define OUTBOX_ABI_MINOR //p' sdk/include/outbox/abi.h)
# libtool's CURRENT:REVISION:AGE makes the soname CURRENT - AGE
read -r current _ age < <(sed -n 's/.*-version-info \([0-9]*\):\([0-9]*\):\([0-9]*\).*/\1 \2 \3/p' core/Makefile.inc)
soname=$((current - age))
echo "outboxd $version, plugin ABI $major.$minor, liboutbox.so.$soname"

says NEWS "the first version" "$(sed -nE '1s/^outboxd ([^ ]+) .*/\1/p' NEWS)" "$version"
if [ $release = yes ]; then
    [[ $(head -n 1 NEWS) =~ \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$ ]] || refuse NEWS "its first line does not end with a date, as (2026-11-30)"
    ! grep -n 'not released' NEWS || refuse NEWS "it still says \"not released\""
fi

deb=packaging/debian
if [ -e $deb/changelog ]; then
    says $deb/changelog "the first version" "$(sed -nE '1s/^outboxd \(([^)]+)-[^-)]+\).*/\1/p' $deb/changelog)" "$version"
    [ $release = no ] || ! head -n 1 $deb/changelog | grep -q UNRELEASED || refuse $deb/changelog "it says UNRELEASED"
fi
if [ -e $deb/control ]; then
    says $deb/control "the library's package" "$(sed -n 's/^Package: \(liboutbox[0-9]*\)$/\1/p' $deb/control)" "liboutbox$soname"
fi
if [ -e "$deb/liboutbox$soname.symbols" ]; then
    says "$deb/liboutbox$soname.symbols" "the soname" "$(sed -n '1s/ .*//p' "$deb/liboutbox$soname.symbols")" "liboutbox.so.$soname"
fi
if [ -e packaging/rpm/outboxd.spec ]; then
    says packaging/rpm/outboxd.spec "Version:" "$(sed -nE 's/^Version:[[:space:]]*//p' packaging/rpm/outboxd.spec)" "$version"
fi
image=packaging/container/Containerfile
if [ -e $image ]; then
    says $image "ARG VERSION" "$(sed -n 's/^ARG VERSION=//p' $image)" "$version"
fi
# Dependencies on the ABI, wherever they are written as numbers.
while IFS=: read -r file line found; do
    says "$file:$line" "the plugin ABI" "${found#outboxd-plugin-abi-}" "$major"
done < <(grep -rnoE 'outboxd-plugin-abi-[0-9]+' packaging 2>/dev/null | sort -u)

# A page is of a day that there was.
while IFS= read -r page; do
    day=$(sed -n 's/^\.Dd //p' "$page")
    if ! seconds=$(date -d "${day:-none}" +%s 2>/dev/null); then
        refuse "$page" "its date \".Dd $day\" is none"
    elif [ "$seconds" -gt $(($(date +%s) + 86400)) ]; then
        refuse "$page" "its date, $day, is yet to come"
    fi
done < <(find docs plugins -name '*.[1-8]')

if [ -e SECURITY.md ]; then
    series=${version%.*}
    grep -qF "$series" SECURITY.md || refuse SECURITY.md "it does not say whether $series is supported"
fi
exit $failed
