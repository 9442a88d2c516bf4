#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check-manuals.sh FOLDER: fails when a manual page below FOLDER is not right for mandoc, for groff (man sets pages with it on
# most systems), or for those who read its name (apropos, lintian). Wants mandoc, man-db and groff-base.
set -eu
n=0 bad=0
complain() {
    [ -z "$2" ] || { printf '%s:\n%s\n' "$1" "$2"; bad=$((bad + 1)); }
}
while read -r page; do
    n=$((n + 1))
    if [[ $(head -n 1 "$page") == ".so "* ]]; then
        [ -e "$1/$(sed -n 's/^\.so //p' "$page")" ] || complain "$page" "it shows a page that is not there"
        continue
    fi
    complain "$page" "$(mandoc -T lint -W warning "$page" 2>&1 || :)"
    complain "$page" "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null || :)"
    lexgrog "$page" >/dev/null || complain "$page" "lexgrog finds no NAME"
done < <(find "$1" -name '*.[1-9]' | sort)
echo "$n pages, $bad complaints"
[ $n -gt 0 ] && [ $bad = 0 ]
