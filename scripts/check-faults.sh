#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the fault scenarios and writes tests/faults/TABLE.md about them, in the build folder that it is called in. What
# the table wants beside the fault tests, and servers, it finds itself.
#
#   check-faults.sh PYTHON FAULT-TEST...
#   check-faults.sh PYTHON --table         only the table, of what ran before
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
build=$PWD python=$1
shift
bad=0 services=

table() {
    PYTHONPATH=$top/tests/lib OUTBOX_TEST_SRCDIR=$top OUTBOX_TEST_BUILDDIR=$build OUTBOX_TEST_PROGRAM=- \
        OUTBOX_TEST_PLUGIN_DIR=- PYTHONDONTWRITEBYTECODE=1 "$python" "$top/tests/faults/table.py" "$@"
}

# shellcheck disable=SC2317  # by the trap
cleanup() { [ -z "$services" ] || OUTBOX_SERVICES_DIR=$services "$top/scripts/services.sh" stop; }

start_services() {
    services=$(mktemp -d /var/tmp/outbox-services-XXXXXX)
    trap cleanup EXIT
    export OUTBOX_SERVICES_DIR=$services
    "$top/scripts/services.sh" start && eval "$("$top/scripts/services.sh" env)"
}

make_crashing() {
    [ -e config.status ] || "$top/configure" --enable-crash-points || return
    make
}

# Relays that crash where they are told to are a build of their own, unless this is one.
crashes() {
    local failed=0
    grep -q 'DOUTBOX_CRASH_POINTS' Makefile && return
    mkdir -p with-crash-points && cd with-crash-points || return
    make_crashing >build.log 2>&1 || failed=1
    [ $failed = 0 ] || tail -n 30 build.log
    make check TESTS=tests/faults/test_crash.py || failed=1
    cp tests/faults/test_crash.log "$build/tests/faults/" || failed=1
    return $failed
}

if [ "$1" = --table ]; then
    table "$build"
    exit
fi
if [ -z "${OUTBOX_TEST_PG:-}" ]; then
    start_services || exit 1
fi
wanted=$(table --tests) || exit 1
read -ra wanted <<<"$wanted"
grep -q 'DOUTBOX_CRASH_POINTS' Makefile || wanted=("${wanted[@]/*test_crash.py/}")
# What takes longest first, with the others beside it; what wants the whole machine at last, alone. Most of them wait
# most of the time, but in full the soak is to have a processor for itself.
jobs=$([ -n "${OUTBOX_TEST_FULL:-}" ] && echo 2 || echo 4)
long='test_(soak|servers|memory|brokers)\.py'
first=$(printf '%s\n' "$@" | grep -E "$long" | sort -r | tr '\n' ' ')
tests=$(printf '%s\n' "$@" "${wanted[@]}" | grep -vE "$long|test_steady\.py" | sort -u | tr '\n' ' ')
(crashes) >crashes.log 2>&1 &
crashing=$!
make -j"$jobs" check TESTS="$first $tests" || bad=1
wait $crashing || bad=1
cat crashes.log
make check TESTS=tests/faults/test_steady.py || bad=1
table "$build" || bad=1
exit $bad
