#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tap-driver.sh DRIVER ARGUMENT...: runs automake's TAP driver and adds to the test's .trs file how long the test took.
began=$(date +%s%N)
"$@"
result=$?
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ "$1" != --trs-file ] || echo "took-ms: $((($(date +%s%N) - began) / 1000000))" >>"$2"
    shift
done
exit $result
