#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# valgrind.sh PROGRAM PLUGIN_DIR: the main job under valgrind, in both modes of pub-exec. Fails on an
# invalid access or a definite leak. Programs that outboxd starts are not traced.
set -eu
program=$1 plugins=$2
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/outboxd.ini" <<INI
[relay]
plugin_dir = $plugins
batch_size = 10
[store]
plugin = sqlite
path = $work/shop.db
[publisher message]
plugin = exec
command = /bin/sh -c "case \$OUTBOX_KEY in bad) exit 65;; esac; cat >>$work/arrived"
[publisher stream]
plugin = exec
mode = stream
command = "$top/sdk/examples/stream/publisher.sh" $work/arrived
[route stream]
header.to = stream
publisher = stream
[route keyed]
header = destination
to = message, stream
[router]
fallback = message
INI

outboxd() {
    local command=$1 want=$2 code=0
    shift 2
    valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \
        --error-exitcode=99 --trace-children=no \
        "$program" "$command" -c "$work/outboxd.ini" "$@" >"$work/out" 2>&1 || code=$?
    if [ $code != "$want" ]; then
        cat "$work/out"
        echo "valgrind: outboxd $command $* ended with $code, not $want" >&2
        exit 1
    fi
}

outboxd init 0
for n in 1 2; do
    outboxd send 0 --topic order --key "k$n" --header a=b "payload $n"
    outboxd send 0 --topic order --header to=stream "payload $n"
done
outboxd send 0 --topic order --key bad "never"
outboxd run 1 --once
outboxd list 0 --json
outboxd status 0 --json
outboxd route 0 --topic x --header destination=stream
outboxd requeue 0 --all
outboxd run 1 --once
outboxd discard 0 --all
outboxd purge 0 --older-than 0
outboxd check 2 -c /nonexistent
[ "$(grep -o payload "$work/arrived" | wc -l)" -ge 4 ] || {
    echo "valgrind: not everything arrived" >&2
    exit 1
}
echo "valgrind: no leak, no invalid access"
