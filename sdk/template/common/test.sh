#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test.sh [MODULE]: does outboxd load the plugin, and does it keep the contract? LEVEL (2) is that of outbox-conform; JUNIT
# is a file for its results. Works on a copy, so that the source folder may be read-only.
set -eu
module=${1:-${MODULE:-./@plugin@.so}}
module=$(realpath "$module")
JUNIT=${JUNIT:+$(realpath -m "$JUNIT")}
cd "$(dirname "$0")"
work=$(mktemp -d)
started=
cleanup() {
    [ -z "$started" ] || tests/server.sh stop
    rm -rf "$work"
}
trap cleanup EXIT
for file in conform.ini tests; do
    [ ! -e $file ] || cp -R $file "$work"
done
cd "$work"
chmod -R u+w .
# outboxd loads no plugin that others could write.
install -D -m 755 "$module" plugins/@plugin@.so
outboxd plugins --plugin-dir "$work/plugins" @name@
if [ -e tests/server.sh ]; then
    tests/server.sh start
    started=yes
fi
outbox-conform -c conform.ini --level "${LEVEL:-2}" ${JUNIT:+--junit "$JUNIT"} plugins/@plugin@.so
