#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A publisher for mode = stream: appends each message's line to the file named by its argument.
read -r _ || exit 1 # {"outboxd":1,"window":100}
while read -r line; do  # ends when outboxd closes our input: finish and exit
    id=${line#'{"id":"'} id=${id%%'"'*} # "id" comes first; a UUID holds no quote
    if printf '%s\n' "$line" >>"$1" && sync "$1"; then
        printf '{"id":"%s","status":"ok"}\n' "$id"
    else
        printf '{"id":"%s","status":"unavailable","reason":"cannot write"}\n' "$id"
    fi
done
