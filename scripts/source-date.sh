#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# source-date.sh SOURCE_TREE: prints the date of the source in seconds since 1970, so that whoever builds it writes the same
# date into what is built: SOURCE_DATE_EPOCH if that is set, or else the commit's in a checkout, or what `make dist`
# wrote into a tarball.
set -eu
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
    echo "$SOURCE_DATE_EPOCH"
elif [ -e "$1/.git" ] && git -C "$1" log -1 --format=%ct 2>/dev/null; then
    :
elif [ -s "$1/build-aux/source-date" ]; then
    cat "$1/build-aux/source-date"
else
    # neither: an archive that the host of a repository made
    stat -c %Y "$1/configure.ac"
fi
