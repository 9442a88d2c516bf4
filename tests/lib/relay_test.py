# SPDX-License-Identifier: Apache-2.0
"""A shop with a relay to a program: the ground of the relay's scenarios."""

import uuid

import outbox_test

# Appends "id topic payload" and does what the payload says.
PROGRAM = r"""#!/bin/sh
payload=$(cat)
echo "$OUTBOX_ID $OUTBOX_TOPIC $payload" >>"%(dir)s/arrived"
case $payload in
exit*) echo "told to ${payload}" >&2; exit "${payload#exit }" ;;
sleep*) sleep "${payload#sleep }" ;;
until*) [ -e "${payload#until }" ] || exit 69 ;;
esac
"""


class Relay(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.program = self.write("program.sh", PROGRAM % {"dir": self.dir}, 0o755)

    def shop(self, relay="", options="", router="[router]\nfallback = out\n", more="", init=True):
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n%s\n%s" % (self.program, options, more),
                    relay, router)
        if init:
            self.outboxd("init")

    def insert(self, payload, topic="t", count=1, headers="{}", **columns):
        db = self.connect()
        names = ["id", "topic", "payload", "headers", *columns]
        ids = [str(uuid.uuid4()) for _ in range(count)]
        db.execute("BEGIN IMMEDIATE")
        for i in ids:
            db.execute("INSERT INTO outbox_messages (%s) VALUES (%s)" % (", ".join(names), ", ".join("?" * len(names))),
                       [i, topic, payload, headers, *columns.values()])
        db.execute("COMMIT")
        return ids if count > 1 else ids[0]

    def arrived(self):
        try:
            return [line.split(" ", 2) for line in self.read("arrived").splitlines()]
        except FileNotFoundError:
            return []

    def row(self, i):
        columns = ("status", "retries", "last_error", "available_at", "processed_at")
        return dict(zip(columns, self.query("SELECT %s FROM outbox_messages WHERE id = ?" % ", ".join(columns), i)[0]))

    def until_status(self, i, status):
        self.until(lambda: self.row(i)["status"] == status, "status %s" % status)
        return self.row(i)
