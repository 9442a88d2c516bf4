#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lists the files of the source, each ended by a NUL: those that git holds, or in an unpacked tarball those that it has.
#
#   list-files.sh [PATTERN...]    such as '*.c', in any folder
set -eu
cd "$(dirname "$0")/.."
if git rev-parse --verify -q HEAD >/dev/null 2>&1; then
    git ls-files -z "$@"
    exit
fi
[ $# -gt 0 ] || set -- '*'
for pattern; do
    find . -path './build*' -prune -o -name '*.o' -prune -o -type f -name "$pattern" -printf '%P\0'
done
