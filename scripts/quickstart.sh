#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds outboxd below ./build-quickstart and shows its main job: a shop writes orders and messages
# in one transaction, outboxd brings the messages to where they are wanted.
#
#   scripts/quickstart.sh            the shop's SQLite database, a program for each message
#   scripts/quickstart.sh servers    PostgreSQL and RabbitMQ, and a consumer. It installs both from Debian, whose packages
#                                    start servers of the system's; it uses two of its own instead, and ends them
set -eu
umask 022 # outboxd loads no plugins from folders that others can write to
cd "$(dirname "$0")/.."
top=$PWD
build=$top/build-quickstart
bin=$build/root/bin/outboxd
what=${1:-embedded}
case $what in
embedded) scripts/deps.sh ;;
servers) scripts/deps.sh --services ;;
*) sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

# ---- building

mkdir -p "$build"
if [ ! -x "$bin" ]; then
    echo "== Building into build-quickstart: a minute or two, 20 MB; its log is build-quickstart.log"
fi
# After an update make builds what changed; without one it has nothing to do.
build() {
    [ -x configure ] || ./autogen.sh || return 1
    cd "$build" || return 1
    [ -f Makefile ] ||
        "$top/configure" --prefix="$build/root" --sysconfdir="$build/root/etc" || return 1
    if ! make -q all || [ ! -x "$bin" ]; then
        make -j"$(nproc)" && make install || return 1
    fi
    chmod -R go-w "$build/root" && chmod go-w "$build" # of a run with another umask
}
(build) >"$build.log" 2>&1 || {
    tail -n 30 "$build.log"
    echo "quickstart: the build failed; the whole log is $build.log" >&2
    exit 1
}

# ---- what both have in common

work=$(mktemp -d)
arrived=$work/arrived
rolled_back_ids=$work/rolled-back
relay='' consumer='' python=python3
export OUTBOX_SERVICES_DIR=
cleanup() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || :
    [ -z "$consumer" ] || kill "$consumer" 2>/dev/null || :
    [ -z "$OUTBOX_SERVICES_DIR" ] || scripts/services.sh stop
    rm -rf "$work"
}
trap cleanup EXIT
outboxd() {
    local command=$1
    shift
    "$bin" "$command" -c "$work/outboxd.ini" "$@"
}
# A number that the database tells.
count() { sql "SELECT count(*) FROM outbox_messages WHERE $1"; }

# ---- the two shops: each writes the configuration, places orders, and says what became of them

embedded_begin() {
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
command = "$top/examples/shop/ship.sh" $arrived

[router]
fallback = shipping
INI
    sql() { sqlite3 "$work/shop.db" "$1"; }
    shop() { python3 examples/shop/shop.py "$work/shop.db" 25 && mv "$work/shop.db.rolled-back" "$rolled_back_ids"; }
    : >"$arrived"
}

servers_begin() {
    # A Python that has the clients of both servers.
    "$python" -c 'import pika, psycopg2' 2>/dev/null || python=/usr/bin/python3
    echo "== Starting a PostgreSQL and a RabbitMQ of its own, on ports and in a folder of their own"
    OUTBOX_SERVICES_DIR=$(mktemp -d /var/tmp/outbox-quickstart-XXXXXX)
    scripts/services.sh start postgres rabbitmq
    eval "$(scripts/services.sh env)"
    echo outbox >"$work/password"
    chmod 600 "$work/password"
    cat >"$work/outboxd.ini" <<INI
[relay]
name = quickstart
retry_max = 1s
max_retries = 10

[store]
plugin = postgres
conninfo = host=127.0.0.1 port=$OUTBOX_TEST_PG_PORT user=outbox dbname=outbox
password_file = $work/password
notify = on

[publisher events]
plugin = amqp
url = amqp://outbox@127.0.0.1:$OUTBOX_TEST_AMQP_PORT
password_file = $work/password
mode = pubsub
exchange = shop
routing_key = {topic}

[router]
fallback = events
INI
    sql() { psql "$OUTBOX_TEST_PG" -Atqc "$1"; }
    shop() { "$python" examples/shop/shop_postgres.py "$OUTBOX_TEST_PG" 25 "$rolled_back_ids"; }
    echo "== A consumer with a queue of its own, bound to the shop's exchange"
    "$python" examples/shop/consumer.py "$OUTBOX_TEST_AMQP" >"$arrived" 2>"$work/consumer" &
    consumer=$!
    until grep -q '^ready' "$work/consumer"; do
        kill -0 "$consumer" 2>/dev/null || {
            cat "$work/consumer"
            exit 1
        }
        sleep 0.1
    done
}

# ---- the show

if [ "$what" = servers ]; then servers_begin; else embedded_begin; fi
echo "== The configuration, checked"
cat "$work/outboxd.ini"
outboxd check
echo "== outboxd init"
outboxd init

echo "== outboxd run, in the background; then the shop takes 25 orders and rolls some back"
"$bin" run -c "$work/outboxd.ini" 2>"$work/relay.log" &
relay=$!
counts=$(shop)
committed=${counts% *}
rolled_back=${counts#* }

tries=0
while [ "$(count "status IN ('pending', 'processing')")" -gt 0 ] && [ $tries -lt 150 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
[ -z "$consumer" ] || sleep 0.2 # what the broker has it hands on at once

echo "== What arrived (the first three of $(wc -l <"$arrived"))"
head -n 3 "$arrived"
echo "== What was tried again, and what failed, and why"
sql "SELECT id || ' arrived after ' || retries || ' retries: ' || last_error
    FROM outbox_messages WHERE status = 'processed' AND retries > 0"
outboxd list --status failed
echo "== outboxd status"
# A relay tells how it is every two seconds.
tries=0
until outboxd status | grep -q 'accepted [1-9]' || [ $tries = 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
outboxd status
kill "$relay"
wait "$relay" || { cat "$work/relay.log"; exit 1; }
relay=

failed=$(count "status = 'failed'")
delivered=$(cut -d ' ' -f 1 "$arrived" | sort -u | wc -l)
ghosts=$(cut -d ' ' -f 1 "$arrived" | grep -c -F -x -f "$rolled_back_ids" || :)
if [ "$ghosts" != 0 ] || [ "$(count 'true')" != "$committed" ] ||
    [ $((delivered + failed)) != "$committed" ]; then
    cat "$work/relay.log"
    echo "quickstart: the counts do not agree" >&2
    exit 1
fi
echo "quickstart: committed $committed delivered $delivered rolled-back $rolled_back failed $failed"
