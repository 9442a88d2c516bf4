#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# outboxd starts this program for each message: the payload is on stdin, the rest in OUTBOX_ variables.
# Exit codes: 0: done; 75: try again; 65: this message can never be delivered.
read -r payload
case $payload in
*nobody*)
    echo "there is no such customer" >&2
    exit 65
    ;;
esac
if [ "${OUTBOX_HEADER_ATTEMPT_TWICE:-}" = yes ] && [ "$OUTBOX_RETRIES" = 0 ]; then
    echo "the warehouse is closed for a second" >&2
    exit 75
fi
echo "$OUTBOX_ID $payload" >>"$1"
