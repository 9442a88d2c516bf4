#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check-dist.sh SOURCE_TREE DISTDIR: fails when what `make dist` packs is not what git holds. Only what concerns git
# and its hosts stays out, and only what autogen.sh makes comes in.
set -eu
left_out='^\.git|^\.ci/|^debian$'
generated='^(configure|aclocal\.m4|config\.h\.in|Makefile\.in|build-aux/.*|m4/(libtool|lt.*)\.m4|debian(/.*)?)$'

if ! git -C "$1" rev-parse --verify -q HEAD >/dev/null; then
    echo "check-dist: $1 is no checkout of git, so there is nothing to compare with" >&2
    exit 1
fi
difference=$(diff <(git -C "$1" ls-files | grep -vE "$left_out" | sort) \
    <(cd "$2" && find . -type f -o -type l | sed 's|^\./||' | grep -vE "$generated" | sort)) || {
    echo "The tarball lacks (<) or adds (>):"
    grep '^[<>]' <<<"$difference"
    exit 1
}
# A link in git and in the folder that is packed; the tarball has a copy instead.
[ -L "$2/debian" ] || diff -r "$2/packaging/debian" "$2/debian"
