# SPDX-License-Identifier: Apache-2.0
"""pub-nats: from a shop's database to a real nats-server with JetStream, and while there is none."""

import os
import signal
import subprocess
import sys
import unittest

import conform_test
import nats_server
import outbox_test
import relay_test

SECRET = nats_server.PASSWORD


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-nats.so")), "pub-nats is not built")
@unittest.skipIf(nats_server.MISSING, nats_server.MISSING)
class Nats(relay_test.Relay):
    def broker(self, *args, start=True, **more):
        self.server = nats_server.Broker(self.path("broker"), *args, **more)
        self.addCleanup(self.server.stop)
        if start:
            self.server.start()

    def nats(self, options="", relay="", **section):
        self.config(self.server.section(more=options, **section), relay)
        self.outboxd("init")

    def with_url(self, url, options="", relay=""):
        self.config("[publisher out]\nplugin = nats\nurl = %s\n%s\n" % (url, options), relay)
        self.outboxd("init")

    def until_arrived(self, ids):
        """All are there, at least once."""
        self.until(lambda: set(ids) <= set(self.server.ids()), "%d messages to arrive" % len(ids))
        self.assertLessEqual(set(self.server.ids()), set(ids))

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def assertRow(self, i, status, retries, said):
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), (status, retries), row)
        self.assertIn(said, row["last_error"] or "")

    def test_every_message_arrives_once_and_as_it_was(self):
        self.broker()
        self.config("[publisher out]\nplugin = nats\nurl = nats://relay:%s@127.0.0.1:%d\nsubject = out.{topic}.{key}\nkey_header = key\n"
                    "stream = out\n" % (SECRET, self.server.port), relay="workers = 2")
        self.outboxd("init")
        ids = self.insert("h\u00e9llo", topic="order.placed", count=1200, key="k1",
                          headers='{"content-type": "text/plain", "b": "2", "a": "", "nats-msg-id": "mine", "key": "mine"}')
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        got = self.server.arrived()
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.assertEqual({(m["subject"], m["payload"]) for m in got}, {("out.order.placed.k1", "h\u00e9llo")})
        headers = got[0]["headers"]
        self.assertIn(headers.pop("Nats-Msg-Id"), ids)
        self.assertEqual(headers, {"key": "k1", "content-type": "text/plain", "b": "2", "a": "", "Nats-Expected-Stream": "out"})
        self.assertEqual(self.statuses(), [("processed", 0, 1200)])

    def test_what_is_sent_again_within_the_window_arrives_once(self):
        self.broker()
        self.nats()
        ids = self.insert("x", count=20)
        self.outboxd("run", "--once")
        db = self.connect()
        db.execute("UPDATE outbox_messages SET status = 'pending', processed_at = NULL")
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.assertEqual(self.statuses(), [("processed", 0, 20)])

    def test_no_message_is_lost_or_charged_while_the_server_comes_and_goes(self):
        self.broker(start=False)
        self.nats(relay="workers = 2\nbatch_size = 50\npoll_interval = 100ms")
        ids = self.insert("x", count=200)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        for kill in (True, False, True):
            self.server.start()
            processed = self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]
            ids += self.insert("y", count=2000)
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0] > processed,
                       "some to be published")
            (self.server.kill if kill else self.server.stop)()
        self.server.start()
        self.until(lambda: self.statuses() == [("processed", 0, len(ids))], "all to be processed, uncharged")
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.stop(relay)

    def test_a_server_that_falls_silent_is_left_and_taken_up_again(self):
        self.broker()
        self.nats("publish_timeout = 1s\nconnect_timeout = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal(self.server.PROCESS, signal.SIGSTOP)
        self.addCleanup(self.server.signal, self.server.PROCESS, signal.SIGCONT)
        ids = self.insert("x", count=20)
        self.until(lambda: "no confirm within publish_timeout" in self.read("relay.log"), "the first message")
        self.until(lambda: "no answer within connect_timeout" in self.read("relay.log"), "the second one")
        self.server.signal(self.server.PROCESS, signal.SIGCONT)
        self.until(lambda: self.statuses() == [("processed", 0, 21)], "all to be processed, uncharged")
        self.assertEqual(len(self.server.ids()), 21)
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def test_an_outage_is_noticed_while_nothing_is_published(self):
        self.broker()
        self.nats("keepalive = 1s\npublish_timeout = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.stop()
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        self.server.start()
        self.assertEqual(self.until_status(self.insert("y"), "processed")["retries"], 0)
        self.server.signal(self.server.PROCESS, signal.SIGSTOP)
        self.addCleanup(self.server.signal, self.server.PROCESS, signal.SIGCONT)
        self.until(lambda: "no confirm within publish_timeout" in self.read("relay.log"), "the silence")
        self.server.signal(self.server.PROCESS, signal.SIGCONT)
        self.assertEqual(self.until_status(self.insert("z"), "processed")["retries"], 0)
        self.stop(relay)

    def test_a_refused_login_charges_no_message_shows_no_secret_and_ends_with_the_right_one(self):
        self.broker()
        password = self.write("password", "wrong-" + SECRET, 0o600)
        self.with_url("nats://relay@127.0.0.1:%d" % self.server.port, "subject = out\npassword_file = " + password)
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("refuses the login as `relay`", done.stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        check = self.outboxd("check", "--connect", code=None)
        self.assertNotEqual(check.returncode, 0)
        for text in (done.stdout, done.stderr, check.stdout, check.stderr, self.row(i)["last_error"]):
            self.assertNotIn(SECRET, text)
        relay = self.start("run")
        self.until(lambda: "refuses the login" in self.read("relay.log"), "the refusal")
        self.write("password", SECRET, 0o600)
        self.until_status(i, "processed")
        self.server.refuse()
        i = self.insert("x")
        self.until(lambda: self.read("relay.log").count("refuses the login") > 1, "the second refusal")
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        self.write("password", "another", 0o600)
        self.until_status(i, "processed")
        self.stop(relay)


if __name__ == "__main__":
    outbox_test.main()
