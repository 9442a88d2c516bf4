#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tries on a copy of the tree what CONTRIBUTING.md tells newcomers: what new-plugin.sh makes of each kind builds, and
# outboxd shows it; a target builds one plugin; make run runs the build; make help lists targets. CC is the compiler.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/list-files.sh | xargs -0 cp -d --parents -t "$work"
cd "$work"

options=(pub=answer_timeout store=max_rows rule=then) # one of each template
for kind in pub store rule; do
    scripts/new-plugin.sh $kind try$kind
    if scripts/new-plugin.sh $kind try$kind; then exit 1; fi # it is there already
    mandoc -T lint -W warning plugins/$kind-try$kind/outboxd-$kind-try$kind.7
    clang-format --dry-run -Werror plugins/$kind-try$kind/$kind-try$kind.c
done
./autogen.sh
mkdir build
cd build
../configure --enable-developer --disable-all-plugins --enable-store-sqlite --enable-pub-exec \
    --enable-pub-trypub --enable-store-trystore --enable-rule-tryrule CC="${CC:-gcc}"
make pub-trypub
test -e .libs/pub-trypub.so
test ! -e .libs/store-trystore.so
make -j"$(nproc)"
make -s run ARGS=plugins >shown
for option in "${options[@]}"; do
    grep "try${option%=*}" shown
    make -s run ARGS="plugins try${option%=*}" | grep "${option#*=}"
done
make -s run ARGS=init
make -s run ARGS="send --topic t hello"
make -s run ARGS="run --once"
grep hello run.txt
make -s help >shown
grep '^run ' shown
