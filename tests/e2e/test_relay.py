# SPDX-License-Identifier: Apache-2.0
"""From an SQLite table to a program: what is peculiar to the two. What all have in common is in
test_combinations.py."""

import json
import os
import time

import outbox_test
import relay_test


class Delivery(relay_test.Relay):
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

    def test_a_program_that_is_not_there_is_an_outage(self):
        os.unlink(self.program)
        self.shop()
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("publisher out was unavailable", done.stderr)
        self.assertIn("No such file", done.stderr)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 0))

    def test_a_message_that_keeps_its_publisher_unavailable_is_found_out(self):
        self.shop("max_retries = 3\nretry_min = 10ms\nretry_max = 20ms\nworkers = 1")
        spoiler = self.insert("exit 69")
        relay = self.start("run")
        good = []
        while self.row(spoiler)["status"] != "failed":
            good.append(self.insert("good"))
            self.until_status(good[-1], "processed")
        self.stop(relay)
        row = self.row(spoiler)
        self.assertEqual((row["retries"], row["last_error"]), (3, "exit 69: told to exit 69"))
        self.assertEqual({self.row(i)["retries"] for i in good}, {0})

    def test_an_outage_of_a_lone_message_is_not_its_fault(self):
        self.shop("max_retries = 1\nworkers = 1")
        i = self.insert("until " + self.path("open"))
        relay = self.start("run")
        self.until(lambda: len(self.arrived()) >= 4, "four tries")
        self.assertEqual(self.row(i)["retries"], 0)
        self.write("open", "")
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_a_program_that_hangs_is_killed_with_its_group(self):
        self.shop("batch_timeout = 10s\nretry_min = 1h\nretry_max = 1h", "timeout = 300ms")
        number = "1000.%d" % os.getpid()
        i = self.insert("sleep " + number)
        self.outboxd("run", "--once")
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIn("timed out after 300 ms", row["last_error"])
        name = b"sleep\x00%s\x00" % number.encode()
        self.until(lambda: name not in b"".join(self.command_lines()), "its child to be gone", 20)

    @staticmethod
    def command_lines():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    yield f.read()
            except OSError:
                pass


class BadRows(relay_test.Relay):
    def test_unreadable_headers_fail_alone(self):
        self.shop()
        bad = [self.insert("x", headers=h) for h in ("[1]", "{", '{"a":{}', b"\xff", "7")]
        good = [self.insert("x", headers=h) for h in (b"[]", b"null", b'{"a":"b"}', "", '{"n":1.50,"b":true,"o":{},"l":[1]}')]
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("published 5, failed 5", done.stdout)
        for i in bad:
            row = self.row(i)
            self.assertEqual((row["status"], row["last_error"][:8]), ("failed", "headers:"))
        for i in good:
            self.assertEqual(self.row(i)["status"], "processed")

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
