#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check-binaries.sh STAGE: looks at every program, library and plugin below STAGE, which is what `make install DESTDIR=STAGE` made
# (or a package, unpacked), and prints a line for each. It fails when one of them lacks a protection, searches its libraries
# somewhere else than the system does, is not complete, or shows another name than it should.
set -eu
stage=${1:?"check-binaries.sh STAGE"}
export LC_ALL=C
failed=0 checked=0

# What is wrong with a file, in words; nothing if it is as it should be.
judge() {
    local file=$1 name dynamic segments header soname exported wanted=''
    name=$(basename "$file")
    header=$(readelf -Wh "$file") segments=$(readelf -Wl "$file") dynamic=$(readelf -Wd "$file")
    soname=$(sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p' <<<"$dynamic")
    grep -q 'Type: *DYN' <<<"$header" || echo "not position independent;"
    case $file in
    */bin/* | */sbin/*) grep -q 'FLAGS_1.*PIE' <<<"$dynamic" || echo "no PIE;" ;;
    esac
    grep -q GNU_RELRO <<<"$segments" || echo "no RELRO;"
    grep -qE 'BIND_NOW|FLAGS_1.*NOW' <<<"$dynamic" || echo "no BIND_NOW, so that RELRO is partial;"
    grep -q 'GNU_STACK.* RW ' <<<"$segments" || echo "executable stack;"
    ! grep -qE 'LOAD.* RWE ' <<<"$segments" || echo "a segment that is both writable and executable;"
    ! grep -qE '\((RPATH|RUNPATH)\)' <<<"$dynamic" || echo "an rpath or runpath;"
    ! grep -q TEXTREL <<<"$dynamic" || echo "text relocations;"
    nm -D --undefined-only "$file" | grep -q __stack_chk_fail || echo "no stack protector;"
    nm -D --undefined-only "$file" | grep -qE '__[a-z_]+_chk(@|$)' || echo "no fortified function;"
    # Not the property, which Debian's start files take away.
    ! grep -q 'Machine: .*X86-64' <<<"$header" || [ "$(objdump -d "$file" | grep -c endbr64)" -gt 9 ] ||
        echo "no control flow protection;"
    # ldd -r binds everything, as BIND_NOW will.
    ! ldd -r "$file" 2>&1 | grep -E 'undefined symbol|not found' || echo "is what it lacks;"
    exported=$(nm -D --defined-only "$file" | awk '$2 != "A" {print $3}' | sed 's/@.*//')
    case $name in
    liboutbox.so.*)
        wanted=liboutbox.so.1
        [ -n "$exported" ] && ! grep -v '^outbox_' <<<"$exported" || echo "exports other names than outbox_...;"
        ;;
    pub-*.so | store-*.so | rule-*.so)
        wanted=$name
        [ "$exported" = outbox_plugin_v1 ] || echo "exports other names than outbox_plugin_v1: $exported;"
        ;;
    esac
    [ "$soname" = "$wanted" ] || echo "its soname is \"$soname\", not \"$wanted\";"
}

while IFS= read -r -d '' file; do
    [ "$(head -c 4 "$file")" = $'\x7fELF' ] || continue
    checked=$((checked + 1))
    wrong=$(judge "$file" | paste -sd ' ')
    if [ -n "$wrong" ]; then
        failed=$((failed + 1))
        echo "FAILED  ${file#"$stage"}: ${wrong%;}"
    else
        echo "ok      ${file#"$stage"}: $(stat -c %s "$file") bytes, $(readelf -Wd "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | paste -sd ' ')"
    fi
done < <(find "$stage" -type f -print0 | sort -z)
echo "$checked files, $failed of them with faults"
[ $failed = 0 ] && [ $checked -gt 0 ]
