#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds outboxd in several ways and runs every test. Goes on after a failure, and ends with one
# line: N passed, N failed, N skipped.
#
#   scripts/test.sh            everything that continuous integration runs
#   scripts/test.sh --quick    one build, its tests
#   scripts/test.sh --release  also what takes long
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
mode=${1:-ci}

case $mode in
ci | --release) scripts/deps.sh --ci || exit 1 ;;
--quick) scripts/deps.sh || exit 1 ;;
*) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

work=$(mktemp -d) others=
# Its own servers, on a disk; without them (--quick) tests that need one are skipped.
export OUTBOX_SERVICES_DIR=
cleanup() {
    [ -z "$others" ] || kill -- -"$others" 2>/dev/null
    [ -z "$OUTBOX_SERVICES_DIR" ] || scripts/services.sh stop
    rm -rf "$work"
}
trap cleanup EXIT
start_services() {
    OUTBOX_SERVICES_DIR=$(mktemp -d /var/tmp/outbox-services-XXXXXX) && scripts/services.sh start &&
        eval "$(scripts/services.sh env)"
}
: >"$work/failures"
jobs=$(nproc)
beside=$((jobs + 1)) # tests at a time: most of them wait for servers or for time to pass
passed=0 failed=0 skipped=0

# A number of automake's summary in a log of `make check`, which has it twice where something failed.
summary() { sed -n "s/^# $1: *\([0-9]*\)\$/\1/p" "$2" | awk '{s = $1} END {print s + 0}'; }

# Adds the cases of such a log; fails when there are none.
count_cases() {
    passed=$((passed + $(summary PASS "$1") + $(summary XFAIL "$1")))
    failed=$((failed + $(summary FAIL "$1") + $(summary ERROR "$1") + $(summary XPASS "$1")))
    skipped=$((skipped + $(summary SKIP "$1")))
    [ "$(summary TOTAL "$1")" -gt 0 ]
}

# step NAME COMMAND...: one thing that passes or fails as a whole.
step() {
    local name=$1 began=$SECONDS
    shift
    if "$@" >"$work/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name ($((SECONDS - began)) s)"
    else
        failed=$((failed + 1))
        echo "step $name" >>"$work/failures"
        echo "FAILED  $name ($((SECONDS - began)) s); its log ends:"
        tail -n 60 "$work/$name.log"
    fi
}

# build NAME CONFIGURE-ARGUMENT...: also what the tests want; says in build-NAME.built whether it went well.
build() {
    local name=$1 ok=yes
    shift
    (mkdir "$work/build-$name" && cd "$work/build-$name" &&
        "$top/configure" --enable-werror --prefix=/usr "$@" && make -j"$jobs" check TESTS=) \
        >"$work/$name.log" 2>&1 || ok=no
    echo $ok >"$work/$name.tmp" && mv "$work/$name.tmp" "$work/build-$name.built"
}

# What the suites after the first one want, while that one runs: it mostly waits.
build_others() {
    renice -n 19 $BASHPID
    build clang CC=clang
    build asan --enable-sanitizer=address,undefined --enable-crash-points
    build tsan --enable-sanitizer=thread
} >/dev/null

# suite NAME TESTS [BUILD]: runs tests ("" for all of them) of the build of that name.
suite() {
    local name=$1 tests=$2 build=$work/build-${3:-$1} began=$SECONDS log=$work/$1.log ok=no
    local before=$failed
    while [ ! -e "$build.built" ] && kill -0 "$others" 2>/dev/null; do sleep 0.2; done
    if grep -qs yes "$build.built"; then
        ok=yes
        touch "$log.began"
        (cd "$build" && make -j"$beside" check ${tests:+TESTS="$tests"} VERBOSE=1) >"$log.check" 2>&1 ||
            ok=no
        count_cases "$log.check" || ok=no
        cat "$log.check" >>"$log"
        find "$build/tests" -name '*.log' -newer "$log.began" -exec grep -hE '^# (kill test|figures):' {} +
    fi
    # What did not build, or failed without a case that says so, counts as one.
    [ $ok = yes ] || [ $failed -gt $before ] || failed=$((failed + 1))
    [ $ok = yes ] || echo "suite $name" >>"$work/failures"
    echo "$([ $ok = yes ] && echo 'ok     ' || echo 'FAILED ') suite $name ($((SECONDS - began)) s)"
    if [ $ok = no ]; then
        grep -E '^(FAIL|ERROR|XPASS).* - |error:|undefined' "$log" | sort -u | head -40 |
            tee -a "$work/failures"
        # What each failed test said, or where the build stopped.
        if grep -rqE '^:global-test-result: (FAIL|ERROR)' "$build/tests" --include='*.trs'; then
            grep -rlE '^:global-test-result: (FAIL|ERROR)' "$build/tests" --include='*.trs' |
                while read -r said; do
                    echo "---- ${said#"$build/"}"
                    grep -vE '^(ok|PASS)' "${said%.trs}.log" | tail -n 80
                done
        else
            tail -n 60 "$log"
        fi
    fi
}

sources() { git ls-files "$@"; }

check_format() { sources '*.c' '*.h' | xargs clang-format --dry-run -Werror; }

check_cpp() {
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability \
        --suppress=missingIncludeSystem --suppress=varFuncNullUB --inline-suppr -I sdk/include -I . -I core \
        -D__GNUC__=12 -DPACKAGE_VERSION='""' -DPLUGINDIR='""' -DSYSCONFDIR='""' \
        common core plugins sdk/examples
}

check_scripts() { shellcheck scripts/*.sh .ci/run examples/shop/*.sh sdk/examples/stream/*.sh; }

check_manuals() { sources '*.1' '*.5' '*.7' | xargs mandoc -T lint -W warning; }

# Third parties compile these with what they have.
check_headers() {
    local header libpq
    read -ra libpq <<<"$(pkg-config --cflags libpq)"
    for header in sdk/include/outbox/*.h; do
        echo "#include <outbox/${header##*/}>" >"$work/header.c"
        gcc -std=c99 -pedantic -Wall -Wextra -Wc++-compat -Werror -I sdk/include "${libpq[@]}" \
            -fsyntax-only "$work/header.c" || return 1
        g++ -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror -I sdk/include "${libpq[@]}" \
            -fsyntax-only "$work/header.c" || return 1
    done
}

# A plugin exports its entry function, the library what its map says, and nothing else.
check_exports() {
    local module
    for module in "$work"/build-gcc/.libs/{store,pub}-*.so; do
        [ "$(nm -D --defined-only "$module" | awk '{print $3}')" = outbox_plugin_v1 ] || {
            nm -D --defined-only "$module"
            return 1
        }
    done
    nm -D --defined-only "$work/build-gcc/core/.libs/liboutbox.so" |
        awk '$2 != "A" {n++; if ($3 !~ /^outbox_/) {print $3; bad = 1}} END {exit bad || !n}'
}

check_calls() {
    grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|system|popen|atoi)[[:space:]]*\(' \
        -r common core plugins sdk tests --include='*.c' --include='*.h'
    [ $? = 1 ] # none found; 2 would be that it could not look
}

fuzz() (
    cd "$work/build-gcc" && make -j"$jobs" fuzz FUZZ_SECONDS="$1" &&
        find fuzz -name '*-crash-*' | (! grep .)
)

# The tests but for those that stop servers, or are the same whatever the build: for slow ones.
most_tests() {
    make -s -C "$work/build-gcc" list-tests | tr ' ' '\n' |
        grep -vE 'test_(pub_amqp_life|store_postgres_servers|combinations)|fuzz/|faults/' | tr '\n' ' '
    echo tests/faults/test_kill.py
}

# Of those, what has no threads of ours in it; of store-postgres all but what connects, waits or fails.
unthreaded='store_postgres_(claim|held|idle|names|plans|refused|roles|rows|session|sharing|upgrade)|_pooled'
threaded_tests() { most_tests | tr ' ' '\n' | grep -vE "$unthreaded" | tr '\n' ' '; }
unthreaded_tests() { most_tests | tr ' ' '\n' | grep -E "$unthreaded" | tr '\n' ' '; }

# What the fault scenarios showed in this run.
faults_table() {
    cp "$work/build-asan/tests/faults/test_crash.log" "$work/build-gcc/tests/faults/" &&
        make -s -C "$work/build-gcc" faults-table
}

dist_check() (
    mkdir "$work/dist" && cd "$work/dist" && "$top/configure" --prefix=/usr &&
        make -j"$jobs" distcheck TESTS=tests/unit/common/test_utf8
)

check_memory() {
    scripts/valgrind.sh "$work/build-gcc/stage/usr/bin/outboxd" \
        "$work/build-gcc/stage/usr/lib/outboxd/plugins"
}

measure_coverage() (
    mkdir "$work/coverage" && cd "$work/coverage" &&
        "$top/configure" --prefix=/usr --enable-coverage && make -j"$jobs" &&
        make -j"$beside" coverage TESTS="$(make -s list-tests | tr ' ' '\n' | grep -v faults/ | tr '\n' ' ')"
)

step autogen ./autogen.sh
if [ "$mode" != --quick ]; then
    set -m # a group of its own, to be ended as one
    build_others &
    others=$!
    set +m
fi
[ "$mode" = --quick ] || step services start_services
[ "$mode" = --quick ] || export OUTBOX_TEST_SHORT=1 OUTBOX_TEST_KILL_SECONDS=30
build gcc
suite gcc ""
if [ "$mode" != --quick ]; then
    quick="$(make -s -C "$work/build-gcc" list-tests | tr ' ' '\n' | grep tests/unit/ | tr '\n' ' ') tests/e2e/test_relay.py"
    # What takes long first, so that the others run beside it.
    few="tests/e2e/test_combinations.py"
    faults="tests/faults/test_crash.py tests/faults/test_soak.py"
    suite clang "$quick"
    OUTBOX_TEST_KILL_SECONDS=20 OUTBOX_TEST_COMBINATIONS="sqlite exec,postgres amqp,postgres_leases exec" \
        suite asan "$faults $few $(most_tests)"
    OUTBOX_TEST_KILL_SECONDS=10 OUTBOX_TEST_COMBINATIONS="postgres amqp" \
        suite tsan "$few $(threaded_tests)"
    step faults-table faults_table
    step format check_format
    step cppcheck check_cpp
    step shellcheck check_scripts
    step manuals check_manuals
    step headers check_headers
    step exports check_exports
    step calls check_calls
    step valgrind check_memory
    step fuzz fuzz 30
    step distcheck dist_check
fi
if [ "$mode" = --release ]; then
    # Hours; the table is for keeping.
    OUTBOX_TEST_KILL_SECONDS=300 OUTBOX_TEST_FULL=1 step faults make -C "$work/build-gcc" check-faults
    cat "$work/build-gcc/tests/faults/TABLE.md"
    suite tsan-rest "$(unthreaded_tests)" tsan
    step coverage measure_coverage
    step fuzz-long fuzz 120
fi

# Once more, where it is looked for.
[ ! -s "$work/failures" ] || { echo "failed:"; sed 's/^/    /' "$work/failures"; }

# In continuous integration whatever cannot run has failed.
if [ -n "${CI:-}" ] && [ $skipped -gt 0 ]; then
    echo "$skipped cases were skipped, which must not happen here"
    failed=$((failed + skipped))
    skipped=0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
