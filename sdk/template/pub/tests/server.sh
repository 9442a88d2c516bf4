#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# server.sh start | stop | verify: the server of the tests. start returns when it listens, stop kills it at once, and verify
# prints the ids of the messages that arrived, one a line. Write here what starts, kills and reads your server.
set -eu
cd "$(dirname "$0")"
case ${1:-} in
start)
    "$PWD/server.sh" stop
    [ -e server ] || ${CC:-cc} -o server server.c
    rm -f server.sock
    ./server server.sock arrived </dev/null >server.log 2>&1 &
    echo $! >server.pid
    tries=0
    until grep -q listening server.log; do
        tries=$((tries + 1))
        [ $tries -lt 500 ] || { cat server.log >&2; exit 1; }
        sleep 0.02
    done
    ;;
stop)
    [ ! -e server.pid ] || kill -KILL "-$(cat server.pid)" || :
    rm -f server.pid
    ;;
verify)
    grep . arrived || [ $? = 1 ]
    ;;
*)
    sed -n '3,4s/^# //p' "$0"
    exit 2
    ;;
esac
