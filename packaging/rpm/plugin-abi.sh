#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A dependency generator of the RPM specification: what a program or a library has to do with the plugin ABI, beside what
# COMMAND, rpm's generator, says of it.
#
#   plugin-abi.sh provides BUILDROOT ISA COMMAND...  outboxd and liboutbox: the ABI whose plugins they load, of the installed abi.h
#   plugin-abi.sh requires BUILDROOT ISA COMMAND...  a plugin: the ABI that it needs, as its descriptor says
#
# ISA is rpm's, such as "(x86-64)". rpmbuild writes names of files to standard input.
set -eu
what=${1:?} root=${2:?} isa=${3?}
shift 3

abi() { sed -n "s/^#define OUTBOX_ABI_$1 \([0-9]*\).*/\1/p" "$root/usr/include/outbox/abi.h"; }

# Asked of the program in the build root; so this build's machine runs it.
needs() {
    name=$(basename "$1" .so)
    plugins=$("$root/usr/bin/outboxd" plugins --plugin-dir "$(dirname "$1")" "${name#*-}" --json)
    # Stores and publishers may have one name: the file tells them apart.
    echo "$plugins" | sed 's/{"kind":/\n&/g' | grep -F "/$name.so\"" |
        sed -n 's/.*"abi_major":\([0-9]*\),.*"needs_minor":\([0-9]*\),.*/outboxd-plugin-abi(\1)'"$isa"' >= \1.\2/p' | grep .
}

files=$(cat)
echo "$files" | "$@"
echo "$files" | while read -r file; do
    case $what:$file in
    requires:*/outboxd/plugins/*.so) needs "$file" ;;
    provides:*/bin/outboxd | provides:*/liboutbox.so.*)
        echo "outboxd-plugin-abi($(abi MAJOR)) = $(abi MAJOR).$(abi MINOR)"
        [ -z "$isa" ] || echo "outboxd-plugin-abi($(abi MAJOR))$isa = $(abi MAJOR).$(abi MINOR)"
        ;;
    esac
done
