#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A dependency generator of the RPM specification: what a program or a library has to do with the plugin ABI, beside what
# COMMAND, rpm's generator, says of it.
#
#   plugin-abi.sh provides ISA COMMAND...  outboxd and liboutbox: the ABI whose plugins they load, of the installed abi.h
#   plugin-abi.sh requires ISA COMMAND...  a plugin: the ABI that it needs, as its descriptor says
#
# ISA is rpm's, such as "(x86-64)". rpmbuild writes names of files to standard input, each below the build root.
set -eu
what=${1:?} isa=${2?}
shift 2

# provided BUILDROOT
provided() {
    abi=$(sed -n 's/^#define OUTBOX_ABI_MAJOR \([0-9]*\).*/(\1)/p; s/^#define OUTBOX_ABI_MINOR \([0-9]*\).*/\1/p' \
        "$1/usr/include/outbox/abi.h" | sed 'N; s/^(\(.*\))\n\(.*\)/outboxd-plugin-abi(\1) = \1.\2/' | grep '[0-9]\.[0-9]')
    echo "$abi"
    [ -z "$isa" ] || echo "$abi" | sed "s/ = /$isa = /"
}

# needed BUILDROOT FILE: asked of the program in the build root, which this machine must be able to run therefore.
needed() {
    name=$(basename "$2" .so)
    plugins=$("$1/usr/bin/outboxd" plugins --plugin-dir "$(dirname "$2")" "${name#*-}" --json)
    # Stores and publishers may have one name: the file tells them apart.
    echo "$plugins" | sed 's/{"kind":/\n&/g' | grep -F "/$name.so\"" |
        sed -n 's/.*"abi_major":\([0-9]*\),.*"needs_minor":\([0-9]*\),.*/outboxd-plugin-abi(\1)'"$isa"' >= \1.\2/p' | grep .
}

files=$(cat)
echo "$files" | "$@"
echo "$files" | while read -r file; do
    case $what:$file in
    requires:*/outboxd/plugins/*.so) needed "${file%/usr/lib*}" "$file" ;;
    provides:*/usr/bin/outboxd) provided "${file%/usr/bin/*}" ;;
    provides:*/liboutbox.so.*) provided "${file%/usr/lib*}" ;;
    esac
done
