#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ci.sh: what continuous integration does once outboxd is installed. Each way to build is tried; keep those that you want.
set -eux
cd "$(dirname "$0")"
make clean
make CC=gcc CFLAGS='-O2 -g -Wall -Wextra -Werror'
LEVEL=@level@ make check
make try
if command -v clang >/dev/null; then
    make clean
    make CC=clang CFLAGS='-O2 -g -Wall -Wextra -Werror'
    make check
fi
if command -v autoreconf >/dev/null && command -v libtoolize >/dev/null; then
    autoreconf -i
    rm -rf build-autotools
    mkdir build-autotools
    (cd build-autotools && ../configure && make && make check VERBOSE=1)
fi
if command -v meson >/dev/null; then
    rm -rf build-meson
    meson setup build-meson
    meson test -C build-meson --print-errorlogs
fi
