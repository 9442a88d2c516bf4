#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tap-driver.sh DRIVER ARGUMENT...: runs automake's TAP driver, adds to the test's .trs file how long the test took, and
# says in one line what came of it, below the cases that failed.
began=$(date +%s%N)
shown=$("$@")
result=$?
took=$((($(date +%s%N) - began) / 1000000))
name='' trs='' log=''
while [ $# -gt 1 ] && [ "$1" != -- ]; do
    case $1 in
    --test-name) name=$2 ;;
    --trs-file) trs=$2 ;;
    --log-file) log=$2 ;;
    esac
    shift
done
echo "took-ms: $took" >>"$trs"
printf '%s\n' "$shown" | grep -Ev '^.{0,9}(PASS|SKIP)'
why=$(sed -nE 's/^SKIP: (.*# SKIP +|[^ ]+ - )//p' "$log" | head -n 1)
awk -v name="$name" -v took="$took" -v why="$why" '/^:test-result: / {n[$2]++} END {
    bad = n["FAIL"] + n["XPASS"]
    if (!bad && n["ERROR"]) bad = 1
    printf "%s %s: %d passed%s%s in %.1f s\n", bad ? "FAILED" : "ok    ", name, n["PASS"] + n["XFAIL"],
        bad ? ", " bad " failed" : "", n["SKIP"] ? ", " n["SKIP"] " skipped (" why ")" : "", took / 1000}' "$trs"
exit $result
