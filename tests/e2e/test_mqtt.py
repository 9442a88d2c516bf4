# SPDX-License-Identifier: Apache-2.0
"""pub-mqtt: from a shop's database to a real mosquitto, and while there is none."""

import os
import re
import signal
import subprocess
import sys
import unittest

import conform_test
import mosquitto
import outbox_test
import relay_test

SECRET = "s3cr3t-passw0rd"


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-mqtt.so")), "pub-mqtt is not built")
@unittest.skipIf(mosquitto.MISSING, mosquitto.MISSING)
class Mqtt(relay_test.Relay):
    def broker(self, options="allow_anonymous true\n", login=(), start=True):
        self.server = mosquitto.Broker(self.path("broker"), options, login)
        self.addCleanup(self.server.stop)
        if start:
            self.server.start()
        return "mqtt://127.0.0.1:%d" % self.server.port

    def mqtt(self, url, options="", relay=""):
        self.config("[publisher out]\nplugin = mqtt\nurl = %s\n%s\n" % (url, options), relay)
        self.outboxd("init")

    def until_arrived(self, ids):
        """All are there, at least once."""
        self.until(lambda: set(ids) <= set(self.server.ids()), "%d messages to arrive" % len(ids))
        self.assertLessEqual(set(self.server.ids()), set(ids))

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def test_every_message_arrives_once_and_as_it_was(self):
        self.mqtt(self.broker(), "topic = shop/{topic}/{key}\ntopic_slashes = yes\nkey_property = key", relay="workers = 2")
        ids = self.insert("h\u00e9llo", topic="order.placed", count=1200, key="k.1",
                          headers='{"content-type": "text/plain", "b": "2", "a": "1", "message-id": "mine"}')
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        self.until_arrived(ids)
        got = self.server.arrived()
        self.assertEqual(len(got), 1200)
        self.assertEqual({m["topic"] for m in got}, {"shop/order/placed/k.1"})
        self.assertEqual((got[0]["payload"], got[0]["qos"], got[0]["retain"]), ("h\u00e9llo", 1, 0))
        self.assertEqual(got[0]["properties"]["content-type"], "text/plain")
        properties = dict(got[0]["properties"]["user-properties"])
        self.assertIn(properties.pop("message-id"), ids)
        self.assertEqual(properties, {"key": "k.1", "b": "2", "a": "1"})
        self.assertEqual(self.statuses(), [("processed", 0, 1200)])

    def test_each_quality_of_service_and_the_old_protocol(self):
        url = self.broker("allow_anonymous true\nlog_type all\n")
        for options, sent in (("qos = 0", "q0, r0"), ("qos = 2\nretain = yes", "q2, r1"), ("window = 1", "q1, r0")):
            self.mqtt(url, options)
            ids = self.insert("x", topic="qos", count=50)
            self.outboxd("run", "--once")
            self.until(lambda: set(ids) <= set(self.server.ids()), "all of " + options)
            self.assertEqual(len(re.findall(r"Received PUBLISH from \S+ \(d0, %s, m\d+, 'qos'" % sent, self.server.log())), 50)
        self.mqtt(url, "protocol = 3.1.1")
        self.insert("old", topic="old")
        self.outboxd("run", "--once")
        self.until(lambda: self.server.arrived()[-1]["payload"] == "old", "the message without properties")

    def test_no_message_is_lost_or_charged_while_the_broker_comes_and_goes(self):
        url = self.broker(start=False)
        self.mqtt(url, relay="workers = 2\nbatch_size = 50\npoll_interval = 100ms")
        ids = self.insert("x", count=200)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        self.assertIn("Connection refused", self.read("relay.log"))
        for _ in range(3):
            self.server.start()
            processed = self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]
            ids += self.insert("y", count=2000)
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0] > processed,
                       "some to be published")
            self.server.stop()
        self.server.start()
        self.until(lambda: self.statuses() == [("processed", 0, len(ids))], "all to be processed, uncharged")
        self.until_arrived(ids)
        self.stop(relay)

    def test_a_broker_that_falls_silent_is_left_and_taken_up_again(self):
        self.mqtt(self.broker(), "publish_timeout = 1s\nconnect_timeout = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal("mosquitto", signal.SIGSTOP)
        self.addCleanup(self.server.signal, "mosquitto", signal.SIGCONT)
        ids = self.insert("x", count=20)
        self.until(lambda: "no confirm within publish_timeout" in self.read("relay.log"), "the first message")
        self.until(lambda: "no answer within connect_timeout" in self.read("relay.log"), "the second one")
        self.server.signal("mosquitto", signal.SIGCONT)
        self.until(lambda: self.statuses() == [("processed", 0, 21)], "all to be processed, uncharged")
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def test_an_outage_is_noticed_while_nothing_is_published(self):
        self.mqtt(self.broker())
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.stop()
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        self.server.start()
        self.assertEqual(self.until_status(self.insert("y"), "processed")["retries"], 0)
        self.stop(relay)

    def test_a_refused_login_charges_no_message_shows_no_secret_and_ends_with_the_right_one(self):
        login = ["-u", "relay", "-P", SECRET]
        users = self.write("users", "")
        subprocess.run(["mosquitto_passwd", "-b", users, "relay", SECRET], check=True, capture_output=True)
        url = self.broker("allow_anonymous false\npassword_file %s\n" % users, login)
        password = self.write("password", "wrong-" + SECRET, 0o600)
        self.mqtt(url.replace("//", "//relay@"), "password_file = " + password)
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
        self.stop(relay)

    def test_what_the_broker_refuses_is_charged_and_nothing_else(self):
        acl = self.write("acl", "topic write ok/#\ntopic read #\n")
        url = self.broker("allow_anonymous true\nacl_file %s\nmessage_size_limit 1000\n" % acl)
        self.mqtt(url, relay="retry_min = 1h\nretry_max = 1h")
        good = self.insert("x", topic="ok/a", count=20)
        forbidden, large = self.insert("x", topic="no/a"), self.insert("x" * 2000, topic="ok/b")
        wild, dollar = self.insert("x", topic="ok/#"), self.insert("x", topic="$SYS/x")
        self.outboxd("run", "--once", code=None)
        self.until_arrived(good)
        if "protocol error" in self.row(large)["last_error"]:  # from libmosquitto 2.0.16 on: it does not take that answer
            too_large = (large, "pending", "A network protocol error")
        else:
            too_large = (large, "failed", "too large")
        for i, status, reason in ((forbidden, "pending", "Not authorized"), too_large,
                                  (wild, "failed", "has a `+` or `#`"), (dollar, "failed", "not among allow_topics")):
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), (status, 1))
            self.assertIn(reason, row["last_error"])

    def one_that_ends_the_connection(self, protocol):
        """More levels of a topic than mosquitto takes: in MQTT 3.1.1 it hangs up without a word."""
        self.mqtt(self.broker(), "protocol = " + protocol, relay="retry_min = 1h\nretry_max = 1h\nmax_retries = 9")
        self.insert("x", topic="before", count=20)
        bad = self.insert("x", topic="a" + "/a" * 250)
        relay = self.start("run")

        def charged():
            """The relay blames a message while others are accepted."""
            self.insert("x", topic="other")
            return self.row(bad)["retries"]
        self.until(charged, "the one to be charged")
        self.assertIn("the connection has ended", self.row(bad)["last_error"])
        count = self.query("SELECT count(*) FROM outbox_messages")[0][0]
        self.until(lambda: self.statuses() == [("pending", 1, 1), ("processed", 0, count - 1)], "the others")
        self.stop(relay)

    def test_one_that_ends_the_connection_is_charged_alone(self):
        self.one_that_ends_the_connection("5")

    def test_one_that_ends_the_connection_without_a_word_is_charged_alone(self):
        self.one_that_ends_the_connection("3.1.1")

    def test_nobody_to_take_a_message_that_somebody_must(self):
        url = self.broker()
        self.server.end("sub", 15)
        subprocess.run(["mosquitto_sub", "-V", "5", "-p", str(self.server.port), "-i", "test", "-t", "x", "-E"], check=True)
        self.mqtt(url, "mandatory = yes", relay="retry_min = 1h\nretry_max = 1h")
        i = self.insert("x")

        def charged():
            self.outboxd("run", "--once", code=None)
            return self.row(i)["retries"]
        self.until(charged, "the message to be charged")
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 1))
        self.assertIn("nobody subscribes", self.row(i)["last_error"])

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def test_tls(self):
        new = ["req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=localhost"]
        self.openssl(*new, "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem")
        os.chmod(self.path("key.pem"), 0o600)
        port = mosquitto.free_port()
        self.broker("allow_anonymous true\nlistener %d 127.0.0.1\nallow_anonymous true\ncertfile %s\nkeyfile %s\n"
                    % (port, self.path("cert.pem"), self.path("key.pem")))
        url = "mqtts://%%s:%d" % port
        for host, options, said in (("localhost", "", "certificate verify failed"), ("127.0.0.1", "ca_file = " + self.path("cert.pem"),
                                    "certificate verify failed"), ("localhost", "ca_file = /nowhere", "cannot be read")):
            self.mqtt(url % host, options)
            self.assertIn(said, self.outboxd("check", "--connect", code=None).stderr)
        for host, options in (("localhost", "ca_file = %s\ncert_file = %s\nkey_file = %s" % (self.path("cert.pem"),
                               self.path("cert.pem"), self.path("key.pem"))), ("127.0.0.1", "tls_verify = no")):
            self.mqtt(url % host, options)
            ids = self.insert("x", count=20)
            self.outboxd("run", "--once")
            self.until(lambda: set(ids) <= set(self.server.ids()), "what was sent by " + host)

    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        url = self.broker(start=False)
        command = "%s %s %%s %s" % (sys.executable, mosquitto.__file__, self.server.folder)
        subprocess.run((command % "start").split(), check=True)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-mqtt.so"),
                               "[publisher out]\nurl = %s\n[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (url, command % "ids", command % "stop", command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.skipped, run.reached()), (0, [], [], 4), run.text())

    def test_wrong_options_are_told_with_their_lines(self):
        for options, said in (("topic = a/+", "topic: "), ("key_file = /x", "key_file: it needs an url with mqtts://"),
                              ("password = x", "password: url names no user"), ("mandatory = yes\nqos = 2", "mandatory: "),
                              ("topic = a\nallow_topics = b", "topic: "), ("publish_timeout = 1h", "publish_timeout")):
            self.config("[publisher out]\nplugin = mqtt\nurl = mqtt://h\n%s\n" % options)
            self.assertIn(said, self.outboxd("check", code=2).stderr)
        self.config("[publisher out]\nplugin = mqtt\nurl = mqtt://relay:%s@h:99999\n" % SECRET)
        done = self.outboxd("check", code=2)
        self.assertIn("port", done.stderr)
        self.assertNotIn(SECRET, done.stderr)


if __name__ == "__main__":
    outbox_test.main()
