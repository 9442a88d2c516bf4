# SPDX-License-Identifier: Apache-2.0
"""Dead letters and old messages, by a person: requeue, discard, purge."""

import os
import pty
import re
import subprocess
import uuid

import outbox_test


class DeadLetters(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n")
        self.outboxd("init")
        self.dead = [self.insert("a/%d" % n, "failed") for n in range(4)] + [self.insert("b", "failed")]
        self.alive = self.insert("a/x", "pending")

    def insert(self, topic, status, count=1, **columns):
        db = self.connect()
        names = ["id", "topic", "status", "retries", "last_error", *columns]
        db.execute("BEGIN")
        for _ in range(count):
            i = str(uuid.uuid4())
            db.execute("INSERT INTO outbox_messages (%s) VALUES (%s)" % (", ".join(names), ", ".join("?" * len(names))),
                       [i, topic, status, 5 if status == "failed" else 0, "why" if status == "failed" else "",
                        *columns.values()])
        db.execute("COMMIT")
        return i

    def counts(self):
        return dict(self.query("SELECT status, count(*) FROM outbox_messages GROUP BY status"))

    def test_requeue_makes_a_failed_message_pending_as_if_new(self):
        out = self.outboxd("requeue", self.dead[0], self.dead[1].upper()).stdout
        self.assertEqual(len(out.splitlines()), 2)
        for i in self.dead[:2]:
            self.assertEqual(self.query("SELECT status, retries, last_error, lane, available_at FROM outbox_messages"
                                        " WHERE id = ?", i), [("pending", 0, "why", None, None)])
        self.outboxd("run", "--once")
        self.assertEqual(self.counts(), {"processed": 3, "failed": 3})

    def test_requeue_and_discard_touch_failed_messages_only(self):
        for command in ("requeue", "discard"):
            self.assertIn("is pending, not failed", self.outboxd(command, self.alive, code=1).stderr)
            self.assertIn("no message", self.outboxd(command, str(uuid.uuid4()), code=1).stderr)
            self.assertIn("not a UUID", self.outboxd(command, "nonsense", code=2).stderr)
            # One that cannot be done does not keep the others from it, and is told.
            self.outboxd(command, self.alive, self.dead.pop(), code=1)
        self.assertEqual(self.counts(), {"failed": 3, "pending": 2})

    def test_all_may_be_narrowed_by_topic(self):
        self.assertEqual(self.outboxd("requeue", "--all", "--topic", "a/[01]", "--dry-run").stdout, "would be requeued 2\n")
        self.assertEqual(self.counts(), {"failed": 5, "pending": 1})
        self.assertEqual(self.outboxd("requeue", "--all", "--topic", "a/[01]").stdout, "requeued 2\n")
        self.assertEqual(self.outboxd("discard", "--all", "--topic", "b").stdout, "discarded 1\n")
        self.assertEqual(self.outboxd("discard", "--all", "--dry-run").stdout, "would be discarded 2\n")
        self.assertEqual(self.outboxd("discard", "--all", "--publisher", "out").stdout, "discarded 0\n")
        self.assertEqual(self.counts(), {"failed": 2, "pending": 3})

    def test_all_goes_through_many(self):
        self.insert("many", "failed", 1700)
        self.assertEqual(self.outboxd("requeue", "--all").stdout, "requeued 1705\n")
        self.assertEqual(self.counts(), {"pending": 1706})

    def test_an_impossible_id_keeps_the_others_as_they_are(self):
        self.outboxd("requeue", self.dead[0], "", code=2)
        self.outboxd("discard", self.dead[0], "x" * 300, code=2)
        self.assertEqual(self.counts(), {"failed": 5, "pending": 1})

    def test_wrong_usage_is_two(self):
        for args in (["requeue"], ["discard"], ["requeue", "--all", self.dead[0]], ["requeue", "--topic", "a", self.dead[0]],
                     ["purge"], ["purge", "--older-than", "7"], ["purge", "--older-than", "never"],
                     ["purge", "--older-than", "1d", "--status", "pending"], ["purge", "--older-than", "1d", "x"],
                     ["requeue", "--all", "--publisher", "nobody"]):
            with self.subTest(args=args):
                self.outboxd(*args, code=2)
        self.assertEqual(self.counts(), {"failed": 5, "pending": 1})

    def test_purge_takes_what_is_old_and_done(self):
        self.insert("old", "processed", 1200, processed_at="2020-01-01 00:00:00")
        self.insert("new", "processed", 2, processed_at="2999-01-01 00:00:00")
        self.insert("old", "failed", 3, created_at="2020-01-01 00:00:00")
        self.assertEqual(self.outboxd("purge", "--older-than", "7d", "--dry-run").stdout, "would be deleted 1200\n")
        self.assertEqual(self.outboxd("purge", "--older-than", "7d").stdout, "deleted 1200\n")
        self.assertEqual(self.counts(), {"processed": 2, "failed": 8, "pending": 1})
        self.assertEqual(self.outboxd("purge", "--older-than", "7d", "--status", "failed").stdout, "deleted 3\n")
        self.assertEqual(self.outboxd("purge", "--older-than", "0").stdout, "deleted 2\n")
        self.assertEqual(self.counts(), {"failed": 5, "pending": 1})


class Progress(outbox_test.Scratch):
    def slow_shop(self):
        program = self.write("slow.sh", "#!/bin/sh\nexec sleep 0.05\n", 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % program, "workers = 1\nbatch_size = 10\n")
        self.outboxd("init")
        db = self.connect()
        db.execute("BEGIN")
        for _ in range(60):
            db.execute("INSERT INTO outbox_messages (topic) VALUES ('t')")
        db.execute("COMMIT")

    def on_a_terminal(self, *args):
        """What a command shows there."""
        parent, child = pty.openpty()
        process = subprocess.Popen([outbox_test.PROGRAM, args[0], "-c", self.path("outboxd.ini"), *args[1:]],
                                   stdout=child, stderr=child, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        os.close(child)
        shown = b""
        while True:
            try:
                shown += os.read(parent, 4096)
            except OSError:
                break
        os.close(parent)
        self.assertEqual(process.wait(outbox_test.PATIENCE), 0)
        return shown

    def test_a_terminal_shows_progress_after_a_second(self):
        self.slow_shop()
        self.assertRegex(self.on_a_terminal("run", "--once"), rb"run: \d+ done, \d+ remaining, \d+/s")

    def test_long_work_on_dead_letters_tells_what_remains(self):
        """A trigger that counts makes it last."""
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n")
        self.outboxd("init")
        db = self.connect()
        many = ("INSERT INTO outbox_messages (topic, status, processed_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                " SELECT i + 1 FROM n WHERE i < 12000) SELECT iif(i % 2, 'odd', 'even'), iif(i % 2, 'failed', 'processed'), '2020-01-01' FROM n")
        busy = "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1600) SELECT i FROM n)"
        db.execute("CREATE TRIGGER slow_u AFTER UPDATE ON outbox_messages BEGIN %s; END" % busy)
        db.execute("CREATE TRIGGER slow_d AFTER DELETE ON outbox_messages BEGIN %s; END" % busy)
        db.execute(many)
        for args in (["purge", "--older-than", "1d"], ["requeue", "--all", "--topic", "odd"]):
            with self.subTest(args=args):
                shown = self.on_a_terminal(*args)
                left = re.findall(rb"(\d+) done, (>= )?(\d+) remaining, \d+/s", shown)
                self.assertTrue(left, shown)
                for done, at_least, remaining in left:
                    total = int(done) + int(remaining)
                    self.assertTrue(total == 6000 or (at_least and total < 6000), shown)

    def test_nothing_is_shown_where_nobody_looks(self):
        self.slow_shop()
        done = self.outboxd("run", "--once")
        self.assertNotIn("remaining", done.stdout + done.stderr)
        self.assertNotIn("\r", done.stdout + done.stderr)


if __name__ == "__main__":
    outbox_test.main()
