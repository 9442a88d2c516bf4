# SPDX-License-Identifier: Apache-2.0
"""How a relay starts, stops, and gets along with others and with its database."""

import fcntl
import signal
import subprocess
import time

import outbox_test
import relay_test


class Life(relay_test.Relay):
    def test_closed_standard_descriptors_are_no_pipe_and_no_database(self):
        self.shop()
        i = self.insert("hello")
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" run -c "$1" --once <&- >&- 2>&-', outbox_test.PROGRAM,
                               self.path("outboxd.ini")], timeout=outbox_test.PATIENCE)
        self.assertEqual(done.returncode, 1)  # the message arrived, what it printed did not
        self.assertEqual(self.arrived(), [[i, "t", "hello"]])
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok",)])

    def test_once_gives_up_on_a_store_that_is_not_there(self):
        self.shop(init=False)
        done = self.outboxd("run", "--once", "--wait", "700ms", code=1)
        self.assertIn("the store was unavailable", done.stderr)
        self.assertIn("not due yet unknown", done.stdout)

    def test_once_settles_what_it_sent_however_little_it_wants_to_wait(self):
        self.shop()
        ids = self.insert("x", count=40)
        self.outboxd("run", "--once", "--wait", "0s")
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted(ids))

    def test_once_does_not_send_again_and_again_what_it_cannot_settle(self):
        """A table whose own trigger refuses the new status."""
        self.shop("workers = 1\nmax_retries = 1")
        self.insert("x", count=5)
        self.connect().execute("CREATE TRIGGER no BEFORE UPDATE OF status ON outbox_messages"
                               " WHEN NEW.status = 'processed' BEGIN SELECT RAISE(ABORT, 'not today'); END")
        done = self.outboxd("run", "--once", "--wait", "1s", code=None)
        self.assertIn("not today", done.stderr + str(self.query("SELECT last_error FROM outbox_messages")))
        self.assertEqual(len(self.arrived()), 5)

    def test_a_row_that_its_table_refuses_stops_no_other(self):
        self.shop("max_retries = 1")
        for topic in ("good", "bad", "good", "good"):
            self.insert(topic, topic=topic)
        self.connect().execute("CREATE TRIGGER audit BEFORE UPDATE ON outbox_messages WHEN new.status = 'processed'"
                               " AND old.topic = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END")
        for _ in range(3):
            self.outboxd("run", "--once", "--wait", "1s", code=None)
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(3,)])
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'pending'"), [(0,)])
        self.assertEqual(sorted(a[2] for a in self.arrived()), ["bad", "good", "good", "good"])

    def test_once_that_is_stopped_does_not_claim_to_be_done(self):
        self.shop("workers = 1\nbatch_size = 1")
        self.insert("sleep 2", count=5)
        relay = self.start("run", "--once")
        self.until(self.arrived, "the first message to start")
        self.stop(relay, code=1)
        self.assertIn("stopped by a signal before all that is due was published", self.read("relay.log"))

    def test_once_waits_for_what_a_late_settle_put_off(self):
        """The message is due by the time of its settle, which somebody's lock held up."""
        self.shop()
        self.write("program.sh", "#!/bin/sh\ncat >/dev/null\necho a b c >>%s\n"
                   "until [ -e %s ]; do sleep 0.01; done\nexit 69\n" % (self.path("arrived"), self.path("go")), 0o755)
        self.insert("x")
        relay = self.start("run", "--once", "--wait", "2s")
        self.until(self.arrived, "the first try")
        db = self.connect()
        db.execute("BEGIN IMMEDIATE")
        self.write("go", "")
        time.sleep(0.8)
        db.execute("COMMIT")
        self.assertEqual(relay.wait(outbox_test.PATIENCE), 1)
        self.assertIn("publisher out was unavailable", self.read("relay.log"))

    def test_an_outage_that_only_messages_see_is_tried_less_and_less(self):
        """The program can be started, so that its check says that all is well."""
        self.shop()
        self.insert("exit 69", count=10)
        relay = self.start("run")
        self.until(self.arrived, "the first try")
        time.sleep(1)
        before = len(self.arrived())
        time.sleep(5)
        # The pauses are 250 ms at least, and each is twice as long.
        self.assertLessEqual(len(self.arrived()) - before, 4)
        self.assertEqual(self.read("relay.log").count("publisher is unavailable"), 1)
        self.assertNotIn("publisher is back", self.read("relay.log"))
        self.stop(relay)
        self.until(lambda: self.outboxd_json("status")[0]["delayed"] == 0, "them to be due")
        done = self.outboxd("run", "--once", "--wait", "2s", code=1)
        self.assertIn("publisher out was unavailable for", done.stderr)

    def test_a_log_that_nobody_reads_stops_nothing(self):
        self.shop("workers = 1\nretry_min = 1h\nretry_max = 1h\n[log]\nlevel = debug")
        ids = self.insert("exit 75", count=100)
        relay = subprocess.Popen([outbox_test.PROGRAM, "run", "-c", self.path("outboxd.ini")], stderr=subprocess.PIPE)
        self.processes.append(relay)
        self.addCleanup(relay.stderr.close)
        fcntl.fcntl(relay.stderr, fcntl.F_SETPIPE_SZ, 4096)
        for i in ids:
            self.until(lambda: self.row(i)["retries"] == 1, "a message to be settled")
        last = self.insert("x")
        self.until_status(last, "processed")
        began = time.monotonic()
        self.stop(relay)
        self.assertLess(time.monotonic() - began, 5)

    def test_programs_that_do_not_want_to_end_are_ended_side_by_side(self):
        program = self.write("stubborn.py", "#!/usr/bin/env python3\nimport json, signal, sys, time\n"
                             "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsys.stdin.readline()\n"
                             "for line in sys.stdin:\n"
                             "    print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n"
                             "time.sleep(1000)\n", 0o755)
        self.config("".join("[publisher p%d]\nplugin = exec\nmode = stream\ncommand = %s\n" % (n, program) for n in range(4)),
                    "workers = 4\nbatch_size = 1\nshutdown_timeout = 10s",
                    "".join("[route r%d]\ntopic = t%d\npublisher = p%d\n" % (n, n, n) for n in range(4)))
        self.outboxd("init")
        relay = self.start("run")
        for n in range(4):
            self.insert("x", topic="t%d" % n, count=50)
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status <> 'processed'") == [(0,)],
                   "all to arrive")
        began = time.monotonic()
        self.stop(relay)
        self.assertLess(time.monotonic() - began, 4 * 1.2 + 4)  # of up to sixteen programs, 1.2 s each

    def test_sigterm_lets_what_is_in_flight_finish(self):
        self.shop("workers = 1")
        slow, next_one = self.insert("sleep 3"), self.insert("x")
        relay = self.start("run")
        self.until(self.arrived, "the first message to start")
        self.stop(relay)
        self.assertEqual(self.row(slow)["status"], "processed")
        self.assertEqual(self.row(next_one)["status"], "pending")
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages_leases"), [(0,)])
        self.assertEqual(self.query("SELECT clean FROM outbox_messages_relays"), [(1,)])

    def test_shutdown_is_bounded(self):
        self.shop("workers = 1\nshutdown_timeout = 1s")
        slow = self.insert("sleep 8")
        relay = self.start("run")
        self.until(self.arrived, "the message to start")
        began = time.monotonic()
        relay.send_signal(signal.SIGTERM)
        self.assertIn(relay.wait(outbox_test.PATIENCE), (0, 1))
        self.assertLess(time.monotonic() - began, 5)
        self.assertNotEqual(self.row(slow)["status"], "processed")
        self.assertEqual(self.row(slow)["retries"], 0)

    def test_a_second_sigterm_leaves_at_once(self):
        self.shop("workers = 1\nlease = 1s")
        slow = self.insert("sleep 8")
        relay = self.start("run")
        self.until(self.arrived, "the message to start")
        relay.send_signal(signal.SIGTERM)
        self.until(lambda: "stopping" in self.read("relay.log"), "the first signal")
        # What comes within a second of it is the same.
        self.until(lambda: relay.terminate() or relay.poll() is not None, "the end by a second one")
        self.assertEqual(relay.returncode, 1)
        self.assertEqual(self.row(slow)["status"], "processing")
        again = self.start("run")
        self.until(lambda: len(self.arrived()) == 2, "its lease to end")
        self.stop(again)

    def test_a_settle_that_comes_too_late_changes_nothing(self):
        self.shop("workers = 1\nlease = 1s")
        i = self.insert("sleep 2")
        frozen = self.start("run")
        self.until(self.arrived, "the message to start")
        self.freeze(frozen, self.connect())
        other = self.start("run", log="other.log")
        self.until_status(i, "processed")
        first = self.row(i)
        self.stop(other)
        frozen.send_signal(signal.SIGCONT)
        self.until(lambda: "settled too late" in self.read("relay.log"), "the stale settle to be counted")
        self.stop(frozen)
        self.assertEqual(self.row(i), first)

    def test_a_writer_that_holds_the_lock_is_waited_for(self):
        self.shop(more="", relay="workers = 1")
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % self.program)
        with open(self.path("outboxd.ini"), encoding="utf-8") as f:
            text = f.read().replace("[publisher", "busy_timeout = 200ms\n[publisher", 1)
        self.write("outboxd.ini", text, 0o600)
        i = self.insert("x")
        db = self.connect()
        db.execute("BEGIN IMMEDIATE")
        relay = self.start("run")
        self.until(lambda: "keeps the database locked" in self.read("relay.log"), "the warning")
        db.execute("COMMIT")
        self.until_status(i, "processed")
        self.until(lambda: "the store is back" in self.read("relay.log"), "the end of it")
        self.stop(relay)

    def test_relays_with_other_routes_are_warned_about(self):
        self.shop()
        first = self.start("run")
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages_relays"), "the first relay")
        self.shop(router="[route r]\ntopic = a\npublisher = out\n[router]\nfallback = out\n", init=False)
        second = self.start("run", log="second.log")
        self.until(lambda: "other publishers or routes" in self.read("second.log"), "the warning")
        status = self.outboxd("status").stdout
        self.assertIn("live relays have different publishers or routes", status)
        self.stop(second)
        self.stop(first)


if __name__ == "__main__":
    outbox_test.main()
