#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds outboxd in several ways and runs every test. Goes on after a failure, and ends with one
# line: N passed, N failed, N skipped. A test program that failed runs once more, alone, when the suites are over;
# if it passes then, it has passed, and is listed as flaky. More than three of these are a failure.
#
#   scripts/test.sh             what continuous integration runs: nearly every test, but not each in every build
#   scripts/test.sh --quick     one build, and of its tests what is quick and needs no servers
#   scripts/test.sh --portable  one build, its unit and contract tests and a relay, with servers: what another release
#                               of the distribution may change
#   scripts/test.sh --here      every test in every build, and the checks of the source
#   scripts/test.sh --suites    the same without the checks
#   scripts/test.sh --faults    the fault scenarios in full, hours; a table for keeping
#   scripts/test.sh --long      coverage, the SDK alone in a bare root, long fuzzing
# The last four are parts of scripts/check-release.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
mode=${1:-ci}

case $mode in
ci | --here | --suites | --long) scripts/deps.sh --ci || exit 1 ;;
--portable | --faults) scripts/deps.sh --tests || exit 1 ;;
--quick) scripts/deps.sh || exit 1 ;;
*) sed -n '3,16s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

work=$(mktemp -d) others='' portable='' portable_began=0
# Its own servers, on a disk; without them (--quick) tests that need one are skipped.
export OUTBOX_SERVICES_DIR=
cleanup() {
    local group
    for group in $others $portable; do kill -- -"$group" 2>/dev/null; done
    [ -z "$OUTBOX_SERVICES_DIR" ] || scripts/services.sh stop
    rm -rf "$work"
}
trap cleanup EXIT
start_services() {
    OUTBOX_SERVICES_DIR=$(mktemp -d /var/tmp/outbox-services-XXXXXX) && scripts/services.sh start &&
        eval "$(scripts/services.sh env)"
}
touch "$work"/{failures,again,flaky,skipped,times}
jobs=$(nproc)
beside=$((jobs + 2)) # tests at a time: most of them wait for servers or for time to pass
passed=0 failed=0 skipped=0
ccache=
if command -v ccache >/dev/null; then
    ccache="ccache "
    export CCACHE_NOHASHDIR=1 # build folders have a new name each time
fi

# took BEGAN NAME: keeps for the end how long a step, build or suite took.
took() { echo "$((SECONDS - $1)) $2" >>"$work/times"; }

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
    took $began "$name"
}

# What `make check` of a build would run.
list_tests() { make -s -C "$work/build-$1" list-tests | tr ' ' '\n'; }

# The tests of a suite. What takes longest comes first, so that the others run beside it. Slow builds do without what
# stops servers or is the same whatever the build (behind a pooler nothing but the server's words differs; what the SDK makes has a build of its own); tsan also without what is slow and has no threads of ours in it:
# of store-postgres all but what connects, waits or fails.
longest='/test_(brokers|sdk_template|servers|http|kafka|progress|conform(_servers)?|refused|changes|combinations|pub_amqp_(life|silence)|memory|relay_life|wakeup)(\.py)?$'
unthreaded='test_bisect|store_postgres_(admin|check|claim|held|idle|names|plans|refused|relays|roles|rows|session|sharing'
unthreaded+='|special|upgrade)|store_sqlite_(refused|values|relays)|_pooled'
slow_first() {
    local tests
    tests=$(cat)
    grep -E "$longest" <<<"$tests"
    grep -vE "$longest" <<<"$tests"
}
stops_servers='test_pub_amqp_life|test_store_postgres_servers'
the_relay='e2e/test_(amqp|blocking|broken_|dead_letters|relay|reload|rule|unruly_)'
most_tests() {
    list_tests "$1" | grep -vE "$stops_servers|test_(combinations|conform|sdk_template|sdk_guide|documents|generated|sbom)|fuzz/|faults/"
    echo tests/faults/test_kill.py
}
# narrow SUITE: continuous integration runs nearly every test, but not each in every build. Contract tests run under the sanitizers and,
# plain, on the other release; commands, and what belongs to one broker, plain. outbox-conform meets servers in the release
# only, since its tests are those contract tests. The release runs every test in every build.
narrow() {
    case $mode-$1 in
    ci-gcc) grep -E "tests/(unit|fuzz|e2e|faults)/|$stops_servers|_pooled" | grep -v conform_servers ;;
    ci-clang) grep -E tests/unit/base/ ;;
    ci-asan) grep -E "tests/(unit|contract|faults)/|$the_relay" | grep -v test_postgres_locks ;;
    ci-tsan) grep -E "tests/(unit|contract|faults)/|$the_relay" | grep -v test_postgres_leases ;;
    --portable-contract) grep -vE "$stops_servers|_pooled" ;;
    *) cat ;;
    esac
}
suite_tests() {
    case $1 in
    gcc) list_tests gcc | narrow gcc | slow_first ;;
    clang)
        list_tests clang | grep tests/unit/ | narrow clang
        suite_tests relay
        ;;
    asan)
        echo tests/faults/test_crash.py
        echo tests/e2e/test_combinations.py
        [ "$mode" = ci ] || echo tests/faults/test_soak.py
        most_tests asan | grep -v _pooled | narrow asan | slow_first
        ;;
    tsan)
        echo tests/e2e/test_combinations.py
        most_tests tsan | grep -vE "$unthreaded" | narrow tsan | slow_first
        ;;
    tsan-rest) most_tests tsan | grep -E "$unthreaded" ;;
    unit) list_tests gcc | grep -E '^tests/(unit|fuzz)/' | slow_first ;;
    contract) list_tests gcc | grep -E '^tests/contract/' | narrow contract | slow_first ;;
    e2e)
        local without=none
        [ "$mode" != --quick ] || without=conform_servers # it starts servers where there are some
        list_tests gcc | grep -E '^tests/e2e/' | grep -v $without | slow_first
        ;;
    relay) echo tests/e2e/test_relay.py ;;
    faults) printf 'tests/faults/%s.py\n' test_kill test_poison ;; # what is quick and wants no servers
    esac
}

# make_check SUITE BUILD ARGUMENT...: with no programs but those of the suite; the release has gcc and clang build all.
make_check() {
    local suite=$1 build=$2 programs=()
    shift 2
    case $mode-$suite in
    --*-gcc | --*-clang) ;;
    *) programs=("check_PROGRAMS=$(suite_tests "$suite" | grep -v '\.py$' | tr '\n' ' ')") ;;
    esac
    make -C "$work/build-$build" check "${programs[@]}" "$@"
}

# build NAME CONFIGURE-ARGUMENT...: also what its tests want; says in build-NAME.built whether it went well.
build() {
    local name=$1 began=$SECONDS ok=yes
    shift
    (mkdir "$work/build-$name" && cd "$work/build-$name" &&
        "$top/configure" --enable-werror --prefix=/usr CC="${ccache}gcc" CXX="${ccache}g++" "$@" &&
        make_check "$name" "$name" -j"$jobs" TESTS=) >"$work/$name.log" 2>&1 || ok=no
    took $began "build $name"
    echo $ok >"$work/$name.tmp" && mv "$work/$name.tmp" "$work/build-$name.built"
    [ $ok = no ] || echo "ok      build $name ($((SECONDS - began)) s)"
}

# What the suites after the first one want, while that one runs: it mostly waits. And the root for end_portable().
portable_release=trixie
build_others() {
    renice -n 19 $BASHPID
    build clang CC="${ccache}clang"
    build asan --enable-sanitizer=address,undefined --enable-crash-points
    build tsan --enable-sanitizer=thread
    [ "$mode" != ci ] || scripts/in-root.sh $portable_release --tests true
} >/dev/null 2>&1

# Once more on another release of Debian, while the checks run here, which have no times to keep.
begin_portable() {
    portable_began=$SECONDS
    set -m # a group of its own, to be ended as one
    scripts/in-root.sh $portable_release --tests scripts/test.sh --portable >"$work/portable.log" 2>&1 &
    portable=$!
    set +m
}

end_portable() {
    local code=0
    wait "$portable" || code=$?
    portable=
    cat "$work/portable.log"
    if [ $code = 77 ]; then
        skipped=$((skipped + 1))
        return
    fi
    if [[ $(tail -n 1 "$work/portable.log") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + BASH_REMATCH[3]))
    else
        failed=$((failed + 1))
    fi
    [ $code = 0 ] || echo "on $portable_release: ended with $code" >>"$work/failures"
    took $portable_began "on $portable_release"
}

# cases RESULT TEST: how many cases of a test that ran came to it. A program that ended badly without a case that says
# so counts as a failed one.
cases() {
    awk -v result="$1" '/^:test-result: / {n[$2]++}
        END {n["PASS"] += n["XFAIL"]; n["FAIL"] += n["XPASS"]; if (!n["FAIL"] && n["ERROR"]) n["FAIL"] = 1; print n[result] + 0}' "$2.trs"
}
count_cases() {
    passed=$((passed + $(cases PASS "$1")))
    failed=$((failed + $(cases FAIL "$1")))
    skipped=$((skipped + $(cases SKIP "$1")))
    grep -H '^SKIP:' "$1.log" | sed "s|^$work/build-||" >>"$work/skipped"
}
bad_cases() { grep -E '^not ok' "$1.log" || grep -E '^(ERROR|Bail out)' "$1.log"; }

# show_log HEADING TEST: what a test that failed says, without what passed.
show_log() {
    echo "---- $1"
    grep -vE '^(ok|PASS)' "$2.log" | tail -n 80
}

# suite NAME [BUILD]: runs its tests, and counts the cases of the programs that passed. The others run again later.
suite() {
    local name=$1 build=$work/build-${2:-$1} began=$SECONDS log=$work/$1.log ran=0 again=0 state=ok tests test
    while [ ! -e "$build.built" ] && kill -0 "$others" 2>/dev/null; do sleep 0.2; done
    if grep -qs yes "$build.built"; then
        touch "$log.began"
        export -p | grep ' OUTBOX_TEST_' >"$work/$name.env"
        mapfile -t tests < <(suite_tests "$name")
        make_check "$name" "${build##*/build-}" -j"$beside" TESTS="${tests[*]}" >"$log.check" 2>&1 || state=again
        cat "$log.check" >>"$log"
        for test in "${tests[@]%.py}"; do
            if [ ! "$build/$test.trs" -nt "$log.began" ]; then
                failed=$((failed + 1)) state=FAILED
                echo "$name $test: ended without a result" >>"$work/failures"
                continue
            fi
            ran=$((ran + 1))
            echo "$(sed -n 's/^took-ms: //p' "$build/$test.trs") $test" >>"$work/$name.longest"
            if [ "$(cases FAIL "$build/$test")" = 0 ]; then
                count_cases "$build/$test"
            else
                again=$((again + 1))
                echo "$name ${build##*/build-} $test" >>"$work/again"
                show_log "$name: $test failed, and is to run again" "$build/$test"
            fi
        done
        find "$build/tests" -name '*.log' -newer "$log.began" -exec grep -hE '^# (kill test|figures):' {} +
    fi
    # What did not build, or failed without a test that says so.
    if [ $ran = 0 ] || { [ $again = 0 ] && [ $state = again ]; }; then
        failed=$((failed + 1)) state=FAILED
        echo "suite $name" >>"$work/failures"
    fi
    if [ $state = FAILED ]; then
        grep -hE 'error:|undefined' "$log" "$work/${2:-$1}.log" | sort -u | head -40
        tail -n 60 "$log"
    fi
    printf '%-7s suite %s (%d s): %d programs, %d to run again\n' $state "$name" $((SECONDS - began)) $ran $again
    took $began "suite $name"
}

# Runs again what failed, now that nothing runs beside it; its cases count by what they do now. Beyond ten programs
# there is nothing to be learnt, since the run has failed anyway.
run_again() {
    local name built test path first result began=$SECONDS n=0
    while read -r name built test <&3; do
        path=$work/build-$built/$test n=$((n + 1))
        first="$(cases PASS "$path") passed, $(cases FAIL "$path") failed ($(bad_cases "$path" | paste -sd ,))"
        if [ $n -gt 10 ]; then
            result="not run again"
        else
            rm "$path.trs"
            # shellcheck disable=SC1090  # the environment of its suite
            (. "$work/$name.env" && make_check "$name" "$built" -j1 TEST_LOGS="$test.log") >"$work/again.log" 2>&1
            [ -e "$path.trs" ] || echo ":test-result: ERROR" >"$path.trs"
            result="alone $(cases PASS "$path") passed, $(cases FAIL "$path") failed"
        fi
        count_cases "$path"
        if [ "$(cases FAIL "$path")" = 0 ]; then
            echo "$name $test: at first $first; $result" >>"$work/flaky"
        else
            echo "$name $test: at first $first; $result" >>"$work/failures"
            bad_cases "$path" | sed 's/^/    /' >>"$work/failures"
            show_log "$name: $test failed; $result" "$path"
        fi
    done 3<"$work/again"
    [ $n = 0 ] || took $began "what failed, again"
}

# Where the time went.
show_times() {
    local file
    echo "seconds:"
    sort -rn "$work/times" | sed 's/^/    /'
    for file in "$work"/*.longest; do
        [ ! -e "$file" ] || echo "longest of suite $(basename "$file" .longest), in seconds:"
        [ ! -e "$file" ] || sort -rn "$file" | head -20 | awk '{printf "    %6.1f %s\n", $1 / 1000, $2}'
    done
}

sources() { scripts/list-files.sh "$@"; }

check_format() { sources '*.c' '*.h' | xargs -0 clang-format --dry-run -Werror; }

check_cpp() {
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability \
        --suppress=missingIncludeSystem --suppress=varFuncNullUB --inline-suppr -I sdk/include -I . -I core -I plugins/store-postgres \
        -D__GNUC__=12 -DPACKAGE_VERSION='""' -DPLUGINDIR='""' -DSYSCONFDIR='""' -DOWN_PLUGINS='""' \
        common conform core plugins sdk/examples
}

check_scripts() {
    shellcheck scripts/*.sh scripts/outbox-new-plugin .ci/run etc/restart-relays packaging/debian/outboxd.p* packaging/rpm/*.sh examples/shop/*.sh sdk/examples/stream/*.sh sdk/template/*/*.sh \
        sdk/template/*/tests/*.sh
}

check_manuals() { scripts/check-manuals.sh "$work/build-gcc/stage/usr/share/man"; }

# Debian's packages of the tarball, and what lintian says of them; scripts/check-packages.sh does that in bare roots, and more.
check_packages() (
    mkdir "$work/packages" && cd "$work/build-gcc" && make dist &&
        cd "$work/packages" && tar xf "$work"/build-gcc/outboxd-*.tar.xz && cd outboxd-* && PATH=/usr/lib/ccache:$PATH DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage -b -us -uc -j"$jobs" &&
        lintian --allow-root --suppress-tags alien-tag --pedantic -I --fail-on=error,warning,info,pedantic ../outboxd_*.changes
)

# A plugin exports its entry function, the library what its map says, and nothing else.
check_exports() {
    local module
    for module in "$work"/build-gcc/.libs/*.so; do
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
    cd "$work/build-gcc" && make -j"$((jobs + 1))" fuzz FUZZ_SECONDS="$1" &&
        find fuzz -name '*-crash-*' | (! grep .)
)

# What the fault scenarios showed in this run.
faults_table() {
    cp "$work/build-asan/tests/faults/test_crash.log" "$work/build-gcc/tests/faults/" &&
        cp -n "$work"/build-asan/tests/contract/*.log "$work/build-gcc/tests/contract/" &&
        make -s -C "$work/build-gcc" faults-table
}

dist_check() (
    mkdir "$work/dist" && cd "$work/dist" && "$top/configure" --prefix=/usr CC="${ccache}gcc" &&
        make -j"$jobs" distcheck TESTS=tests/unit/common/test_utf8 check_PROGRAMS=tests/unit/common/test_utf8 \
            DISTCHECK_CONFIGURE_FLAGS="CC='${ccache}gcc'"
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

# What is done in each mode.
every_suite() {
    set -m # a group of its own, to be ended as one
    build_others &
    others=$!
    set +m
    step services start_services
    export OUTBOX_TEST_SHORT=1 OUTBOX_TEST_KILL_SECONDS=30
    build gcc
    suite gcc
    suite clang
    OUTBOX_TEST_KILL_SECONDS=20 OUTBOX_TEST_COMBINATIONS="sqlite exec,postgres amqp,postgres_leases exec,sqlite async" suite asan
    OUTBOX_TEST_KILL_SECONDS=10 OUTBOX_TEST_COMBINATIONS="postgres amqp,postgres async" suite tsan
    [ "$mode" = ci ] || suite tsan-rest tsan
}

every_check() {
    step faults-table faults_table
    step layers scripts/check-layers.sh
    step format check_format
    step cppcheck check_cpp
    step shellcheck check_scripts
    step manuals check_manuals
    step exports check_exports
    step binaries scripts/check-binaries.sh "$work/build-gcc/stage"
    step versions scripts/check-versions.sh
    [ ! -e .git ] || step dist-files make -C "$work/build-gcc" dist-check-files
    step calls check_calls
    step valgrind check_memory
    if [ "$mode" = ci ]; then step fuzz fuzz 10; else step fuzz fuzz 20; fi
    step bench-programs make -C "$work/build-gcc" -j"$jobs" bench-programs
    CC="${ccache}gcc" step new-plugin scripts/check-new-plugin.sh
    CI=1 step plugins-apart scripts/check-plugins-apart.sh "$work/build-gcc/stage"
    [ "$mode" != ci ] || return 0
    step packages check_packages
    step distcheck dist_check
}

every_fault() {
    OUTBOX_TEST_KILL_SECONDS=300 OUTBOX_TEST_FULL=1 step faults make -C "$work/build-gcc" check-faults
    cat "$work/build-gcc/tests/faults/TABLE.md"
}

what_takes_long() {
    step sdk-root scripts/check-sdk-root.sh "$work/build-gcc/stage"
    step coverage measure_coverage
    step fuzz-long fuzz 120
}

step autogen ./autogen.sh
case $mode in
--quick)
    export OUTBOX_TEST_SHORT=1 OUTBOX_TEST_KILL_SECONDS=5
    build gcc
    for name in unit contract e2e faults; do
        suite $name gcc
    done
    run_again
    ;;
--portable)
    step services start_services
    build gcc
    for name in unit contract relay; do
        suite $name gcc
    done
    run_again
    ;;
--suites)
    every_suite
    run_again
    ;;
--here)
    every_suite
    run_again
    every_check
    ;;
--faults)
    build gcc
    every_fault
    ;;
--long)
    step services start_services
    build gcc
    what_takes_long
    ;;
*)
    every_suite
    begin_portable
    run_again
    every_check
    end_portable
    ;;
esac

took 0 "all of it"
show_times
if [ -s "$work/flaky" ]; then
    echo "flaky:"
    sed 's/^/    /' "$work/flaky"
    if [ "$(wc -l <"$work/flaky")" -gt 3 ]; then
        failed=$((failed + 1))
        echo "more than three programs were flaky" >>"$work/failures"
    fi
fi
# Once more, where it is looked for.
[ ! -s "$work/failures" ] || { echo "failed:"; sed 's/^/    /' "$work/failures"; }

# In continuous integration whatever cannot run has failed.
if [ -n "${CI:-}" ] && [ $skipped -gt 0 ]; then
    echo "$skipped cases were skipped, which must not happen here"
    sed 's/^/    /' "$work/skipped"
    failed=$((failed + skipped))
    skipped=0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
