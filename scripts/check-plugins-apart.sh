#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds outboxd's own publishers a second time, as a third party would: each in a folder of its own outside of the tree, with
# nothing but the installed SDK, its template's Makefile and the plugin's library, by gcc and by clang. Then the module is
# tried: its symbols, outboxd, outbox-conform, and with BUILD, a build folder, the plugin's end-to-end tests, too.
#
#   check-plugins-apart.sh STAGE [BUILD]    STAGE is what `make install DESTDIR=STAGE` made
#
# Which plugins: those that link nothing of common/ and whose library this machine has. What is left out is told, and fails
# with CI set.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
stage=$(realpath "${1:?}") build=${2:+$(realpath "$2")}
work=$(mktemp -d /var/tmp/outbox-apart-XXXXXX)
trap 'rm -rf "$work"' EXIT
: >"$work/config.h" # tests ask it for sanitizers
one() { find "$stage" -name "$1" -type f -print -quit; }
outboxd=$(one outboxd) pc=$(dirname "$(one outbox-plugin.pc)") template=$(find "$stage" -path '*/outboxd/template/common/Makefile')
plugins=$(dirname "$(one store-sqlite.so)")
version=$(sed -n 's/^Version: //p' "$pc/outbox-plugin.pc")
warnings="-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Werror"
python=python3
$python -c 'import pika' 2>/dev/null || python=/usr/bin/python3
failed=0 left_out=0

# Names of pkg-config for the variables that a plugin links, as configure.ac has them: $(MOSQUITTO_LIBS) -> libmosquitto.
libraries() {
    local variable
    # shellcheck disable=SC2016  # make's
    sed -nE 's/^pub_.*_LIBADD *\+?= *//p' "$top/plugins/$1/Makefile.inc" | grep -oE '\$\([A-Z0-9_]+_LIBS\)' | tr -d '$()' |
        while read -r variable; do
            sed -nE "s/^ *(OUTBOX_PLUGIN\(\[[a-z-]+\], *|PKG_CHECK_MODULES\()\[${variable%_LIBS}\], *\[([^]]*)\].*/\2/p" \
                "$top/configure.ac" | sed -E 's/ *[<>=]+ *[0-9.]+//g'
        done | tr ' ' '\n' | sort -u
}

# The section of a publisher, as its broker's module writes it; the broker is not started.
section() {
    PYTHONPATH=$top/tests/lib OUTBOX_TEST_SRCDIR=$top OUTBOX_TEST_BUILDDIR=$work OUTBOX_TEST_PROGRAM=$outboxd \
        OUTBOX_TEST_PLUGIN_DIR=$plugins PYTHONDONTWRITEBYTECODE=1 $python -c 'import brokers, sys
print(brokers.module(sys.argv[1]).Broker(sys.argv[2]).section("out"))' "$1" "$2"
}

# compile PLUGIN COMPILER: in $work/PLUGIN-COMPILER, whose module may go to a relay.
compile() {
    local folder=$work/$1-$2 names
    mkdir "$folder"
    cp "$top/plugins/$1"/*.[ch] "$folder/"
    sed "s/@plugin@/$1/g" "$template" >"$folder/Makefile"
    names=$(libraries "$1" | paste -sd ' ')
    # shellcheck disable=SC2086  # words
    env -C "$folder" PKG_CONFIG_SYSROOT_DIR="$stage" PKG_CONFIG_LIBDIR="$pc" make -s CC="$2" SOURCES="$(cd "$folder" && echo ./*.c)" \
        CLIENT_CFLAGS="$(pkg-config --cflags $names)" CLIENT_LIBS="$(pkg-config --libs $names) -pthread" LDFLAGS=-Wl,-z,now \
        CFLAGS="-std=gnu11 -O2 -g -pthread $warnings -DPACKAGE_VERSION='\"$version\"'" || return
    [ "$(nm -D --defined-only "$folder/$1.so" | awk '{print $3}')" = outbox_plugin_v1 ] || {
        echo "$1: it exports more than outbox_plugin_v1, or not that"
        nm -D --defined-only "$folder/$1.so"
        return 1
    }
}

# In place of the built one, beside the others.
assemble() {
    local folder=$work/$1-modules
    mkdir -m 755 "$folder"
    cp "$plugins"/*.so "$folder/"
    cp "$work/$1-gcc/$1.so" "$folder/"
    chmod 755 "$folder"/*.so
}

load() {
    printf '[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n' "$work/$1-modules" "$work/none.db" >"$work/$1.ini"
    chmod 600 "$work/$1.ini"
    "$outboxd" plugins -c "$work/$1.ini" "${1#pub-}"
    "$outboxd" plugins -c "$work/$1.ini" "${1#pub-}" | grep -qF "$version"
}

# Level 1 asks no server.
conform() {
    local program
    program=$(one outbox-conform)
    [ -n "$program" ] || { echo "$1: outbox-conform is not installed"; return 0; }
    { section "${1#pub-}" "$work/$1-broker" && printf '[conform]\nscratch = yes\n'; } >"$work/$1-conform.ini"
    chmod 600 "$work/$1-conform.ini"
    "$program" -c "$work/$1-conform.ini" --level 1 "$work/$1-modules/$1.so"
}

# The plugin's own end-to-end tests.
scenarios() {
    local test
    test=$(cd "$top" && grep -lF "\"$1.so\"" tests/e2e/test_*.py | head -n 1)
    [ -n "$test" ] || { echo "$1: no test of tests/e2e names $1.so"; return 1; }
    eval "$(make -s -C "$build" test-env)"
    OUTBOX_TEST_PLUGIN_DIR=$work/$1-modules $python "$top/$test"
}

try() {
    compile "$1" gcc && { ! command -v clang >/dev/null || compile "$1" clang; } && assemble "$1" && load "$1" && conform "$1" &&
        { [ -z "$build" ] || scenarios "$1"; }
}

for folder in "$top"/plugins/pub-*; do
    plugin=$(basename "$folder")
    if grep -q 'common/' "$folder/Makefile.inc"; then continue; fi
    names=$(libraries "$plugin" | paste -sd ' ')
    # shellcheck disable=SC2086  # words
    if ! pkg-config --exists $names; then
        echo "left out  $plugin: one of these is missing: $names"
        left_out=1
    elif (try "$plugin") >"$work/$plugin.log" 2>&1; then
        echo "passed    $plugin, with $names${build:+; $(grep -c '^ok ' "$work/$plugin.log") cases}"
    else
        echo "FAILED    $plugin; its log ends:"
        tail -n 40 "$work/$plugin.log"
        failed=1
    fi
done
[ -z "${CI:-}" ] || failed=$((failed | left_out))
exit $failed
