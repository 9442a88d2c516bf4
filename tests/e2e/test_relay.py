# SPDX-License-Identifier: Apache-2.0
"""From the table to a program: what the relay promises, through the installed binary."""

import json
import os
import time
import uuid

import outbox_test
import relay_test


class Delivery(relay_test.Relay):
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

    def test_writes_that_are_no_commit_do_not_hide_the_next_one(self):
        self.shop("poll_interval = 1h")
        relay = self.start("run")
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages_relays"), "the relay")
        time.sleep(0.3)
        self.write("shop.db-note", "not a commit")
        time.sleep(8.5)  # looks get rarer, the next after 16 s, and are begun anew by the commit's own event
        began = time.monotonic()
        self.insert("wake")
        self.until(self.arrived, "the message")
        self.assertLess(time.monotonic() - began, 6)
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


class Outcomes(relay_test.Relay):
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


class Routing(relay_test.Relay):
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


class BadRows(relay_test.Relay):
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


if __name__ == "__main__":
    outbox_test.main()
