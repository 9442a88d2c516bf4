#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A publisher for mode = stream: appends what it gets to the file named by its argument."""
import json
import os
import sys

hello = json.loads(sys.stdin.readline())  # {"outboxd": 1, "window": 100}
with open(sys.argv[1], "a", encoding="utf-8") as out:
    for line in sys.stdin:  # ends when outboxd closes our input: finish and exit
        message = json.loads(line)
        out.write("%s %s %s\n" % (message["id"], message["topic"], message.get("payload")))
        out.flush()
        os.fsync(out.fileno())  # "ok" is a promise: the message is never sent again
        print(json.dumps({"id": message["id"], "status": "ok"}), flush=True)
