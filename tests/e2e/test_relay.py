# SPDX-License-Identifier: Apache-2.0
"""From the table to a program: what the relay promises, through the installed binary."""

import json
import os
import signal
import sqlite3
import time
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


class Delivery(Relay):
    def test_a_message_arrives_once_and_is_kept_as_processed(self):
        self.shop()
        i = self.insert("hello")
        done = self.outboxd("run", "--once")
        self.assertIn("published 1, failed 0", done.stdout)
        self.assertEqual(self.arrived(), [[i, "t", "hello"]])
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("processed", 0))
        self.assertIsNotNone(row["processed_at"])
        self.outboxd("run", "--once")
        self.assertEqual(len(self.arrived()), 1)

    def test_a_rolled_back_message_never_arrives(self):
        self.shop()
        db = self.connect()
        db.execute("BEGIN")
        db.execute("INSERT INTO outbox_messages (topic, payload) VALUES ('t', 'ghost')")
        db.execute("ROLLBACK")
        self.outboxd("run", "--once")
        self.assertEqual(self.arrived(), [])

    def test_an_sql_user_needs_four_columns_and_gets_an_id(self):
        self.shop()
        db = self.connect()
        db.execute("INSERT INTO outbox_messages (topic, key, payload, headers) VALUES ('t', 'k', 'p', '{\"a\":1}')")
        self.outboxd("run", "--once")
        self.assertEqual(str(uuid.UUID(self.arrived()[0][0])), self.arrived()[0][0])

    def test_retention_zero_deletes_on_success(self):
        self.shop("retention = 0")
        self.insert("hello", count=50)
        self.outboxd("run", "--once")
        self.assertEqual(len(self.arrived()), 50)
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages"), [(0,)])

    def test_processed_rows_go_after_retention_and_failed_ones_stay(self):
        self.shop("retention = 1s")
        old = self.insert("x", status="processed", processed_at="2020-01-01 00:00:00", count=1200)
        failed = self.insert("x", status="failed", created_at="2020-01-01 00:00:00")
        fresh = self.insert("x", status="processed", processed_at="2999-01-01 00:00:00")
        relay = self.start("run")
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages") == [(2,)], "old rows to go")
        self.stop(relay)
        self.assertEqual({r[0] for r in self.query("SELECT id FROM outbox_messages")}, {failed, fresh})
        self.assertEqual(len(old), 1200)

    def test_a_delayed_message_waits_for_its_time(self):
        self.shop()
        i = self.outboxd("send", "--topic", "t", "--delay", "1h", "later").stdout.strip()
        self.assertIn("not due yet 1", self.outboxd("run", "--once").stdout)
        self.assertEqual(self.row(i)["status"], "pending")
        soon = self.outboxd("send", "--topic", "t", "--delay", "700ms", "soon").stdout.strip()
        text = self.insert("text", available_at="2020-02-03 04:05:06")
        relay = self.start("run")
        self.until_status(soon, "processed")
        self.until_status(text, "processed")
        self.stop(relay)
        self.assertEqual(self.row(i)["status"], "pending")

    def test_a_commit_of_another_process_wakes_the_relay(self):
        self.shop("poll_interval = 1h")
        relay = self.start("run")
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages_relays"), "the relay")
        time.sleep(0.3)
        for n in range(3):
            began = time.monotonic()
            self.insert("wake %d" % n)
            self.until(lambda: len(self.arrived()) == n + 1, "the message")
            self.assertLess(time.monotonic() - began, 10)
        self.stop(relay)

    def test_an_idle_relay_costs_next_to_nothing(self):
        self.shop()
        relay = self.start("run")
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages_relays"), "the relay")
        time.sleep(1)

        def cpu_ticks():
            with open("/proc/%d/stat" % relay.pid, encoding="ascii") as f:
                return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13])
        before = cpu_ticks()
        time.sleep(4)
        spent = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK")
        self.stop(relay)
        self.assertLessEqual(spent, 0.1)

    def test_several_relays_share_a_table_without_overlap(self):
        self.shop("batch_size = 20\nworkers = 2", "concurrency = 2")
        ids = self.insert("x", count=400)
        relays = [self.start("run") for _ in range(3)]
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") == [(400,)],
                   "all messages")
        for relay in relays:
            self.stop(relay)
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted(ids))


class Outcomes(Relay):
    def test_exit_codes_mean_what_the_manual_says(self):
        self.shop("retry_min = 1h\nretry_max = 1h")
        want = {"0": ("processed", 0), "75": ("pending", 1), "1": ("pending", 1), "64": ("failed", 1),
                "65": ("failed", 1), "99": ("pending", 1)}
        ids = {code: self.insert("exit " + code) for code in want}
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("published 1, failed 2, not due yet 3", done.stdout)
        for code, (status, retries) in want.items():
            row = self.row(ids[code])
            self.assertEqual((row["status"], row["retries"]), (status, retries), code)
            if code != "0":
                self.assertEqual(row["last_error"], "exit %s: told to exit %s" % (code, code))

    def test_after_max_retries_a_message_is_failed(self):
        self.shop("max_retries = 3\nretry_min = 10ms\nretry_max = 20ms")
        i = self.insert("exit 75")
        good = self.insert("good")
        relay = self.start("run")
        row = self.until_status(i, "failed")
        self.until_status(good, "processed")
        self.stop(relay)
        self.assertEqual(row["retries"], 3)
        self.assertEqual(len([a for a in self.arrived() if a[0] == i]), 3)
        self.assertIn("message failed", self.read("relay.log"))

    def test_a_publisher_may_have_its_own_terms(self):
        self.shop("max_retries = 5", "max_retries = 1")
        i = self.insert("exit 75")
        self.outboxd("run", "--once", code=1)
        self.assertEqual(self.row(i)["status"], "failed")

    def test_an_outage_charges_nothing_and_ends_by_itself(self):
        self.shop()
        flag = self.path("open")
        ids = self.insert("until " + flag, count=3)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage to be noticed")
        for i in ids:
            self.assertEqual(self.row(i)["retries"], 0)
        self.write("open", "")
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.until(lambda: "publisher is back" in self.read("relay.log"), "the end to be noticed")
        self.stop(relay)

    def test_a_program_that_is_not_there_is_an_outage(self):
        os.unlink(self.program)
        self.shop()
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("publisher out was unavailable", done.stderr)
        self.assertIn("No such file", done.stderr)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 0))

    def test_a_program_that_hangs_is_killed_with_its_group(self):
        self.shop("batch_timeout = 10s\nretry_min = 1h\nretry_max = 1h", "timeout = 300ms")
        i = self.insert("sleep 1000")
        self.outboxd("run", "--once")
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIn("timed out after 300 ms", row["last_error"])
        self.assertNotIn(b"sleep\x001000\x00", b"".join(self.command_lines()))

    @staticmethod
    def command_lines():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    yield f.read()
            except OSError:
                pass

    def test_a_paused_publisher_does_not_hold_up_another(self):
        self.shop(more="[publisher down]\nplugin = exec\ncommand = /nonexistent/program\n",
                  router="[route down]\ntopic = down\npublisher = down\n[router]\nfallback = out\n")
        down = self.insert("x", topic="down", count=50)
        good = self.insert("x", topic="good", count=50)
        relay = self.start("run")
        self.until(lambda: len(self.arrived()) == len(good), "the good ones")
        for i in down:
            self.assertEqual(self.row(i)["retries"], 0)
        self.stop(relay)


class Routing(Relay):
    def test_a_header_names_the_publisher(self):
        log = self.path("mail")
        mail = self.write("mail.sh", '#!/bin/sh\necho "$OUTBOX_ID" >>"%s"\n' % log, 0o755)
        self.shop(more="[publisher mail]\nplugin = exec\ncommand = %s\n" % mail,
                  router="[route d]\nheader = destination\nto.post = mail\nto = out, mail\n[router]\nfallback = out\n")
        ids = {d: self.insert("x", headers=json.dumps({"destination": d})) for d in ("post", "mail", "out", "else")}
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.read("mail").split()), sorted([ids["post"], ids["mail"]]))
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted([ids["out"], ids["else"]]))

    def test_an_unrouted_message_is_held_and_taken_up_after_the_repair(self):
        self.shop(router="[route r]\ntopic = known\npublisher = out\n")
        i = self.insert("x", topic="unknown")
        done = self.outboxd("run", "--once")
        self.assertIn("not due yet 1 (of these unrouted 1)", done.stdout)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 0))
        self.assertIn("unrouted", row["last_error"])
        self.query_write("UPDATE outbox_messages SET available_at = NULL")
        self.shop(init=False)
        self.outboxd("run", "--once")
        self.assertEqual(self.row(i)["status"], "processed")

    def query_write(self, sql):
        db = self.connect()
        db.execute(sql)

    def test_unrouted_fail_makes_it_failed(self):
        self.shop(router="[route r]\ntopic = known\npublisher = out\n[router]\nunrouted = fail\n")
        i = self.insert("x", topic="unknown")
        self.outboxd("run", "--once", code=1)
        self.assertEqual(self.row(i)["status"], "failed")


class BadRows(Relay):
    def test_unreadable_headers_fail_alone(self):
        self.shop()
        bad = [self.insert("x", headers=h) for h in ("[]", "{", '{"a":{}}', b"\xff", "7")]
        good = [self.insert("x", headers=h) for h in (b"null", b'{"a":"b"}', "", '{"n":1.50,"b":true}')]
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("published 4, failed 5", done.stdout)
        for i in bad:
            row = self.row(i)
            self.assertEqual((row["status"], row["last_error"][:8]), ("failed", "headers:"))
        for i in good:
            self.assertEqual(self.row(i)["status"], "processed")

    def test_a_message_over_max_message_fails_at_once(self):
        self.shop("max_message = 1K")
        big = self.insert(b"x" * 1025)
        fits = self.insert(b"x" * 1024)
        self.outboxd("run", "--once", code=1)
        self.assertIn("max_message (1024)", self.row(big)["last_error"])
        self.assertEqual(self.row(fits)["status"], "processed")

    def test_a_batch_holds_no_more_bytes_than_told(self):
        self.shop("batch_bytes = 1K")
        ids = [self.insert(b"y" * n) for n in (600, 600, 5000, 10)]
        self.outboxd("run", "--once")
        self.assertEqual([self.row(i)["status"] for i in ids], ["processed"] * 4)

    def test_hostile_text_goes_through_unharmed(self):
        self.shop()
        env = self.write("env.sh", '#!/bin/sh\nenv -0 >"%s"\n' % self.path("env"), 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % env)
        self.insert("x", topic="$(rm -rf /)\n`id`", key="'; DROP TABLE outbox_messages; --",
                    headers=json.dumps({"LD_PRELOAD": "/evil.so", "a-b": "1", "A_B": "2", "x\ny": "z"}))
        self.outboxd("run", "--once")
        env = dict(e.split("=", 1) for e in self.read("env").split("\0") if e)
        self.assertEqual(env["OUTBOX_TOPIC"], "$(rm -rf /)\n`id`")
        self.assertEqual(env["OUTBOX_KEY"], "'; DROP TABLE outbox_messages; --")
        self.assertEqual(env["OUTBOX_HEADER_LD_PRELOAD"], "/evil.so")
        self.assertEqual(env["OUTBOX_HEADER_X_Y"], "z")
        self.assertNotIn("LD_PRELOAD", env)
        self.assertNotIn("OUTBOX_HEADER_A_B", env)  # two headers collide: both are left out
        self.assertRegex(env["OUTBOX_CREATED_AT"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    def test_nul_in_a_header_is_rejected(self):
        self.shop()
        i = self.insert("x", headers='{"a":"b\\u0000c"}')
        self.outboxd("run", "--once", code=1)
        self.assertIn("NUL", self.row(i)["last_error"])


class Life(Relay):
    def test_it_waits_for_a_database_that_is_not_there_yet(self):
        self.shop(init=False)
        relay = self.start("run")
        self.until(lambda: "the store is unavailable" in self.read("relay.log"), "the warning")
        self.assertIn("run `outboxd init`", self.read("relay.log"))
        self.assertIsNone(relay.poll())
        self.outboxd("init")
        self.insert("x")
        self.until(self.arrived, "the message")
        self.stop(relay)

    def test_once_gives_up_on_a_store_that_is_not_there(self):
        self.shop(init=False)
        done = self.outboxd("run", "--once", "--wait", "700ms", code=1)
        self.assertIn("the store was unavailable", done.stderr)

    def test_sigterm_lets_what_is_in_flight_finish(self):
        self.shop("workers = 1")
        slow, next_one = self.insert("sleep 1"), self.insert("x")
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
        self.stop(relay, code=1)
        self.assertEqual(self.row(slow)["status"], "processing")
        again = self.start("run")
        self.until(lambda: len(self.arrived()) == 2, "its lease to end")
        self.stop(again)

    def freeze(self, relay):
        """Stops it while it does not hold the database's one write lock, which nobody could take from it."""
        db = self.connect()
        db.execute("PRAGMA busy_timeout = 100")

        def frozen_without_lock():
            relay.send_signal(signal.SIGSTOP)
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
                return True
            except sqlite3.OperationalError:
                relay.send_signal(signal.SIGCONT)
                return False
        self.until(frozen_without_lock, "a moment without the lock")

    def test_a_settle_that_comes_too_late_changes_nothing(self):
        self.shop("workers = 1\nlease = 1s")
        i = self.insert("sleep 2")
        frozen = self.start("run")
        self.until(self.arrived, "the message to start")
        self.freeze(frozen)
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
        self.until(lambda: "holds the database for long" in self.read("relay.log"), "the warning")
        db.execute("COMMIT")
        self.until_status(i, "processed")
        self.until(lambda: "the store is back" in self.read("relay.log"), "the end of it")
        self.stop(relay)

    def test_rows_of_another_relay_without_a_lease_expire(self):
        self.shop("lease = 1s")
        i = self.insert("x", status="processing")
        relay = self.start("run")
        self.until_status(i, "processed")
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


class Stream(Relay):
    def stream(self, script, options="", relay=""):
        program = self.write("stream.py", "#!/usr/bin/env python3\n" + script, 0o755)
        self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = %s %s\n%s" % (program, self.dir, options),
                    relay)
        self.outboxd("init")

    def examples(self, name):
        path = os.path.join(outbox_test.SRCDIR, "sdk", "examples", "stream", name)
        self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = \"%s\" %s\n" % (path, self.path("arrived")))
        self.outboxd("init")
        ids = self.insert("hello \\ \"world\"", count=250)
        self.outboxd("run", "--once")
        self.assertEqual([i for i in ids if i not in self.read("arrived")], [])
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(250,)])

    def test_the_python_example_works(self):
        self.examples("publisher.py")

    def test_the_shell_example_works(self):
        self.examples("publisher.sh")

    def test_every_reply_means_what_the_manual_says(self):
        self.stream("import json, sys\nprint('started', file=sys.stderr, flush=True)\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    print(json.dumps({'id': m['id'], 'status': m['payload'], 'reason': 'why ' + m['payload'],"
                    " 'after_ms': 3600000, 'more': 1}), flush=True)\n", relay="retry_min = 1h\nretry_max = 1h")
        want = {"ok": ("processed", 0, ""), "retry": ("pending", 1, "why retry"), "later": ("pending", 0, "why later"),
                "reject": ("failed", 1, "why reject")}
        ids = {status: self.insert(status) for status in want}
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("started", done.stderr)
        for status, (column, retries, why) in want.items():
            row = self.row(ids[status])
            self.assertEqual((row["status"], row["retries"], row["last_error"]), (column, retries, why), status)

    def test_a_co_process_that_dies_leaves_the_rest_uncharged(self):
        self.stream("import json, sys, os\nsys.stdin.readline()\n"
                    "for n, line in enumerate(sys.stdin):\n"
                    "    if n == 3: os._exit(7)\n"
                    "    m = json.loads(line)\n"
                    "    open(sys.argv[1] + '/arrived', 'a').write(m['id'] + ' t x\\n')\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n", relay="workers = 1")
        ids = self.insert("x", count=12)
        relay = self.start("run")
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)
        self.assertIn("ended (exit 7)", self.read("relay.log"))
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted(ids))

    def test_a_hanging_co_process_costs_the_oldest_message_an_attempt(self):
        self.stream("import json, sys, time\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    if m['payload'] == 'hang': time.sleep(1000)\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n",
                    "timeout = 500ms", "workers = 1\nretry_min = 1h\nretry_max = 1h")
        hang, good = self.insert("hang"), self.insert("good")
        relay = self.start("run")
        self.until_status(good, "processed")
        row = self.row(hang)
        self.stop(relay)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIn("no answer within 500 ms", row["last_error"])
        self.assertEqual(self.row(good)["retries"], 0)

    def test_a_broken_protocol_is_an_outage_that_names_itself(self):
        for reply in ("junk", "{}", '{"id":"unknown","status":"ok"}', '{"id":1,"status":"ok"}', "x" * 70000):
            self.stream("import sys\nsys.stdin.readline()\nsys.stdin.readline()\nprint(%r, flush=True)\nsys.stdin.read()\n"
                        % reply)
            i = self.insert("x")
            done = self.outboxd("run", "--once", "--wait", "200ms", code=1)
            self.assertIn("broke the protocol", done.stderr)
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), ("pending", 0))

    def test_the_window_is_honoured(self):
        self.stream("import json, sys, select\nhello = json.loads(sys.stdin.readline())\n"
                    "assert hello == {'outboxd': 1, 'window': 5}, hello\n"
                    "while True:\n"
                    "    lines = []\n"
                    "    for line in iter(sys.stdin.readline, ''):\n"
                    "        lines.append(line)\n"
                    "        if len(lines) == 5: break\n"
                    "    if not lines: break\n"
                    "    assert not select.select([0], [], [], 0.1)[0], 'a sixth message came'\n"
                    "    for line in reversed(lines):\n"
                    "        print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n",
                    "window = 5", "workers = 1")
        self.insert("x", count=50)
        self.outboxd("run", "--once")
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(50,)])


class Upgrade(Relay):
    TABLE = ("CREATE TABLE outbox_messages (id TEXT PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL DEFAULT '',"
             " payload BLOB, headers TEXT NOT NULL DEFAULT '{}', status TEXT NOT NULL DEFAULT 'pending',"
             " retries INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',"
             " created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, processed_at DATETIME)")

    def old_shop(self):
        self.shop(init=False)
        db = self.connect()
        db.execute(self.TABLE)
        db.execute("CREATE INDEX idx_outbox_messages_pending ON outbox_messages (created_at) WHERE status = 'pending'")
        return db

    def test_a_ten_column_table_is_upgraded_in_place(self):
        db = self.old_shop()
        rows = [("new", "pending", b"null", None), ("old", "pending", b'{"a":"b"}', "2001-01-01 00:00:00"),
                ("busy", "processing", b"null", "2002-01-01 00:00:00"), ("done", "processed", "{}", "2003-01-01 00:00:00"),
                ("dead", "failed", "{}", "2004-01-01 00:00:00")]
        for name, status, headers, created in rows:
            db.execute("INSERT INTO outbox_messages (id, topic, payload, headers, status, created_at)"
                       " VALUES (?, 't', ?, ?, ?, coalesce(?, CURRENT_TIMESTAMP))", (name, name, headers, status, created))
        db.execute("CREATE INDEX mine ON outbox_messages (topic)")
        self.assertIn("older form", self.outboxd("status", code=1).stderr)
        done = self.outboxd("init")
        self.assertIn("upgraded (schema 1), 5 rows kept", done.stdout)
        self.assertEqual(self.query("SELECT id, status FROM outbox_messages ORDER BY seq"),
                         [("old", "pending"), ("busy", "pending"), ("done", "processed"), ("dead", "failed"),
                          ("new", "pending")])
        self.assertEqual(self.query("SELECT name FROM sqlite_master WHERE name IN ('mine', 'idx_outbox_messages_pending')"),
                         [("mine",)])
        # The package's producer goes on with the statement it had.
        db.execute("INSERT INTO outbox_messages (id, topic, key, payload, headers) VALUES (?, ?, ?, ?, ?)",
                   ("go", "t", "k", b"go", b"null"))
        self.outboxd("run", "--once")
        self.assertEqual(sorted(a[2] for a in self.arrived()), ["busy", "go", "new", "old"])
        self.assertIn("up to date", self.outboxd("init").stdout)

    def test_columns_that_somebody_added_are_kept(self):
        db = self.old_shop()
        db.execute("ALTER TABLE outbox_messages ADD COLUMN tenant TEXT NOT NULL DEFAULT 'none'")
        db.execute("INSERT INTO outbox_messages (id, topic, tenant) VALUES ('a', 't', 'x')")
        self.outboxd("init")
        db.execute("INSERT INTO outbox_messages (id, topic) VALUES ('b', 't')")
        self.assertEqual(self.query("SELECT id, tenant FROM outbox_messages ORDER BY seq"), [("a", "x"), ("b", "none")])

    def test_a_table_that_is_no_outbox_is_left_alone(self):
        self.shop(init=False)
        self.connect().execute("CREATE TABLE outbox_messages (id TEXT, topic TEXT)")
        self.assertIn("so it is no outbox", self.outboxd("init", code=1).stderr)
        self.assertEqual(self.query("SELECT count(*) FROM sqlite_master"), [(1,)])

    def test_a_newer_table_is_refused(self):
        self.shop()
        db = self.connect()
        db.execute("UPDATE outbox_messages_schema SET version = 3")
        self.outboxd("status")  # an upgrade that only adds does not bother us
        db.execute("UPDATE outbox_messages_schema SET needs = 3")
        self.assertIn("made by a newer outboxd", self.outboxd("status", code=1).stderr)

    def test_the_printed_sql_makes_the_same_tables(self):
        self.shop()
        sql = self.outboxd("init", "--print").stdout
        other = sqlite3.connect(self.path("other.db"))
        other.executescript(sql)
        same = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        self.assertEqual(other.execute(same).fetchall(), self.query(same))
        other.close()


if __name__ == "__main__":
    outbox_test.main()
