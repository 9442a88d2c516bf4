#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs Debian packages in a bare root of their release and runs the tests of packaging/debian/tests there, each as its
# Test-Command says. All packages are there at once, so core-alone skips; scripts/check-packages.sh runs that one. 77 where
# there can be no such root.
#
#   check-autopkgtests.sh RELEASE FOLDER    FOLDER has the packages, built for RELEASE
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = --in-root ]; then
    mkdir /srv/debs
    tar -C /srv/debs -x --no-same-owner
    dpkg -i /srv/debs/*.deb
    failed=0
    ln -s packaging/debian debian 2>/dev/null || : # a copy of the source may have lost the link
    while read -r command; do
        tmp=$(mktemp -d /tmp/autopkgtest-XXXXXX)
        chmod 1777 "$tmp"
        began=$SECONDS code=0
        # shellcheck disable=SC2086  # words of a command
        AUTOPKGTEST_TMP=$tmp timeout 600 $command >"$tmp/log" 2>&1 </dev/null || code=$?
        case $code in
        0) echo "ok      $command, $((SECONDS - began)) s" ;;
        77) echo "skipped $command" ;;
        *)
            echo "FAILED  $command, exit code $code; its log ends:"
            tail -n 40 "$tmp/log"
            failed=1
            ;;
        esac
    done < <(sed -n 's/^Test-Command: //p' debian/tests/control)
    exit $failed
fi

if [ $# != 2 ] || ! compgen -G "$2/outboxd_*.deb" >/dev/null; then
    sed -n '3,7s/^# \{0,1\}//p' "$0"
    exit 2
fi
tar -C "$2" -c --exclude='*-dbgsym_*' --exclude='*.dsc' --exclude='*.tar.*' --exclude=logs . |
    scripts/in-root.sh --fresh "$1" --services scripts/check-autopkgtests.sh --in-root
