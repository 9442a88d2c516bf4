#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds outboxd below ./build-quickstart and shows its main job: a shop writes orders and
# messages in one transaction, outboxd brings the messages to a program.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
build=$top/build-quickstart
bin=$build/root/bin/outboxd

scripts/deps.sh
mkdir -p "$build"
if [ ! -x "$bin" ]; then
    echo "== Building into build-quickstart"
fi
# After an update make builds what changed; without one it has nothing to do.
build() {
    [ -x configure ] || ./autogen.sh || return 1
    cd "$build" || return 1
    [ -f Makefile ] ||
        "$top/configure" --prefix="$build/root" --sysconfdir="$build/root/etc" || return 1
    if ! make -q all || [ ! -x "$bin" ]; then
        make -j"$(nproc)" && make install
    fi
}
(build) >"$build.log" 2>&1 || {
    tail -n 30 "$build.log"
    echo "quickstart: the build failed; the whole log is $build.log" >&2
    exit 1
}

work=$(mktemp -d)
relay=
cleanup() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || :
    rm -rf "$work"
}
trap cleanup EXIT
cat >"$work/outboxd.ini" <<INI
[relay]
name = quickstart
retry_max = 1s
poll_interval = 250ms

[store]
plugin = sqlite
path = $work/shop.db

[publisher shipping]
plugin = exec
command = "$top/examples/shop/ship.sh" $work/arrived

[router]
fallback = shipping
INI
outboxd() { command=$1; shift; "$bin" "$command" -c "$work/outboxd.ini" "$@"; }

echo "== The configuration, checked"
cat "$work/outboxd.ini"
outboxd check
echo "== outboxd init"
outboxd init

echo "== outboxd run, in the background; then the shop takes 25 orders and rolls some back"
: >"$work/arrived"
"$bin" run -c "$work/outboxd.ini" 2>"$work/relay.log" &
relay=$!
counts=$(python3 examples/shop/shop.py "$work/shop.db" 25)
committed=${counts% *}
rolled_back=${counts#* }

failed() { sqlite3 "$work/shop.db" "SELECT count(*) FROM outbox_messages WHERE status = 'failed'"; }
open() { sqlite3 "$work/shop.db" "SELECT count(*) FROM outbox_messages WHERE status IN ('pending', 'processing')"; }
tries=0
while [ "$(open)" -gt 0 ] && [ $tries -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
done

echo "== What arrived at the program (the first three of $(wc -l <"$work/arrived"))"
head -n 3 "$work/arrived"
echo "== What was tried again, and what failed, and why"
sqlite3 "$work/shop.db" "SELECT id || ' arrived after ' || retries || ' retry: ' || last_error
    FROM outbox_messages WHERE status = 'processed' AND retries > 0"
outboxd list --status failed
echo "== outboxd status"
outboxd status
kill "$relay"
wait "$relay" || { cat "$work/relay.log"; exit 1; }
relay=

delivered=$(cut -d ' ' -f 1 "$work/arrived" | sort -u | wc -l)
ghosts=$(cut -d ' ' -f 1 "$work/arrived" | grep -c -F -x -f "$work/shop.db.rolled-back" || :)
in_table=$(sqlite3 "$work/shop.db" "SELECT count(*) FROM outbox_messages")
if [ "$ghosts" != 0 ] || [ "$in_table" != "$committed" ] ||
    [ $((delivered + $(failed))) != "$committed" ]; then
    cat "$work/relay.log"
    echo "quickstart: the counts do not agree" >&2
    exit 1
fi
echo "quickstart: committed $committed delivered $delivered rolled-back $rolled_back failed $(failed)"
