# SPDX-License-Identifier: Apache-2.0
"""pub-nats: from a shop's database to a real nats-server with JetStream, and while there is none."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
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
        self.config(self.server.section(more="key_header = key\nstream = out").replace("{topic}", "{topic}.{key}"), "workers = 2")
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
        self.broker()
        self.server.stop()  # its stream is there from now on: without one, messages are charged
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
        self.assertEqual(self.row(i)["retries"], 0)
        self.write("password", "another", 0o600)
        self.until_status(i, "processed")
        self.stop(relay)

    def test_a_missing_stream_pauses_the_publisher_of_a_fixed_subject(self):
        self.broker()
        self.with_url("nats://relay:%s@127.0.0.1:%d" % (SECRET, self.server.port), "subject = nowhere",
                      relay="poll_interval = 100ms")
        i = self.insert("x")
        self.assertIn("no stream takes the subject `nowhere`", self.outboxd("check", "--connect", code=None).stderr)
        relay = self.start("run")
        self.until(lambda: "no stream takes the subject `nowhere`" in self.read("relay.log"), "the missing stream")
        self.server.update(subjects=["out", "out.>", "nowhere"])
        self.until_status(i, "processed")
        self.server.update(subjects=["out", "out.>"])
        i = self.insert("y")
        self.until(lambda: "no stream takes the subject `nowhere`, or" in self.read("relay.log"), "the stream to be missed")
        self.assertEqual(self.row(i)["retries"], 0)
        self.stop(relay)

    def test_a_missing_stream_charges_the_message_whose_subject_it_is(self):
        self.broker()
        self.with_url("nats://relay:%s@127.0.0.1:%d" % (SECRET, self.server.port), "subject = {topic}",
                      relay="retry_min = 1h\nretry_max = 1h")
        good, bad = self.insert("x", topic="out.a", count=20), self.insert("x", topic="nowhere")
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once", code=None)
        self.until_arrived(good)
        self.assertRow(bad, "pending", 1, "no stream takes its subject")

    def test_without_the_right_to_ask_a_missing_stream_charges_the_message_too(self):
        self.users('publish: ["out.>", "nowhere"], subscribe: "_INBOX.>"')
        self.config(self.server.section().replace("out.{topic}", "{topic}"), "retry_min = 1h\nretry_max = 1h")
        self.outboxd("init")
        ids = self.insert("x", topic="nowhere", count=2)
        self.insert("x", topic="out.a")
        self.outboxd("run", "--once", code=None)
        for i in ids:
            self.assertRow(i, "pending", 1, "no stream takes ")
        self.config(self.server.section().replace("out.{topic}", "out.b"), "workers = 2")
        self.outboxd("check", "--connect")
        self.insert("x", count=100)
        self.outboxd("run", "--once", code=None)
        self.assertEqual(self.statuses(), [("pending", 1, 2), ("processed", 0, 101)])

    def test_a_forbidden_subject_of_jetstream_charges_its_message_alone(self):
        self.users('publish: ["out.>", "_INBOX.>", "$JS.API.STREAM.NAMES"], subscribe: "_INBOX.>"')
        self.config(self.server.section(more="allow_subjects = *").replace("out.{topic}", "{topic}"), "retry_min = 1h\nretry_max = 1h")
        self.outboxd("init")
        bad = self.insert("x", topic="$JS.API.STREAM.PURGE.out")
        good = self.insert("x", topic="out.a", count=20)
        self.outboxd("run", "--once", code=None)
        self.assertRow(bad, "pending", 1, "the user may not publish to the subject `$JS.API.STREAM.PURGE.out`")
        self.assertEqual(sorted(self.server.ids()), sorted(good))

    def test_a_right_to_ask_that_is_given_later_is_used_at_the_next_connection(self):
        rights = 'publish: ["out.>", "nowhere"%s], subscribe: "_INBOX.>"'
        self.users(rights % "")
        self.config(self.server.section(more="allow_subjects = *").replace("out.{topic}", "{topic}"), "retry_min = 1h\nretry_max = 1h")
        self.outboxd("init")
        relay = self.start("run")

        def charged(said):
            i = self.insert("x", topic="nowhere")
            self.until(lambda: self.row(i)["retries"] == 1, "the charge")
            self.assertRow(i, "pending", 1, said)
        charged("no stream takes its subject")  # which was asked
        charged("no stream takes the subject `nowhere`")
        self.server.stop()
        self.server.configure(self.options(rights % ', "$JS.API.STREAM.NAMES"'))
        self.server.start()
        charged("no stream takes its subject")
        self.stop(relay)

    def test_a_full_stream_charges_nothing_and_is_taken_up_again(self):
        self.broker()
        for subject in ("out.{topic}", "out"):
            self.config(self.server.section().replace("out.{topic}", subject), "poll_interval = 100ms")
            self.outboxd("init")
            self.insert("x")
            self.outboxd("run", "--once")
            self.server.fill()
            ids = self.insert("x", count=5)
            relay = self.start("run", log=subject + ".log")
            self.until(lambda: "maximum messages exceeded (10077)" in self.read(subject + ".log")
                       + str(self.row(ids[0])["last_error"]), "the full stream")
            self.assertEqual(self.row(ids[4])["retries"], 0)
            self.server.make_room()
            self.until(lambda: self.statuses() == [("processed", 0, len(self.server.ids()))], "all of them, uncharged")
            self.stop(relay)

    def test_what_can_never_be_taken_is_rejected_with_a_reason(self):
        self.broker(stream={"max_msg_size": 200000})
        self.nats("allow_headers = Nats-TTL", relay="retry_min = 1h\nretry_max = 1h")
        good = self.insert("x", topic="a", count=20)
        bad = [(self.insert("x" * 250000), "message size exceeds maximum allowed (10054)"),
               (self.insert("x" * 2000000), "max_payload"),
               (self.insert("x" * 1048570), "with its headers it is larger"),
               (self.insert("x", headers='{"a": "%s"}' % ("x" * 70000)), "header size exceeds maximum allowed of 64k (10097)"),
               (self.insert("x", topic="a b"), "has a blank"), (self.insert("x", topic="a\r\nPUB out 1\r\nx"), "a control character"),
               (self.insert("x", topic="a.*"), "has a `*`"), (self.insert("x", topic='a"b'), 'has a `"`'),
               (self.insert("x", topic="a..b"), "an empty part"),
               (self.insert("x", topic="a."), "ends with a dot"), (self.insert("x", topic="a" * 3600), "longer than 3500"),
               (self.insert("x", headers='{"a": "b\\r\\nNats-Rollup: all"}'), "the end of a line"),
               (self.insert("x", headers='{"a b": "c"}'), "has a name with"),
               (self.insert("x", headers='{"Nats-Rollup": "all"}'), "is for JetStream")]
        self.outboxd("run", "--once", code=None)
        for i, said in bad:
            self.assertRow(i, "failed", 1, said)
        self.assertEqual(sorted(self.server.ids()), sorted(good))
        self.config(self.server.section().replace("out.{topic}", "{topic}"))
        i = self.insert("x", topic="$JS.API.STREAM.DELETE.out")
        self.outboxd("run", "--once", code=None)
        self.assertRow(i, "failed", 1, "begins with a `$`")

    def options(self, permissions):
        return ("authorization { users = [{user: admin, password: admin}, {user: relay, password: \"%s\", permissions: {%s}}] }\n"
                % (SECRET, permissions))

    def users(self, permissions):
        self.broker(self.options(permissions))

    def test_a_forbidden_subject_charges_its_messages_alone(self):
        self.users('publish: ["out.a", "out.c"], subscribe: "_INBOX.>"')
        self.nats(relay="retry_min = 1h\nretry_max = 1h")
        good = self.insert("x", topic="a", count=20)
        bad = self.insert("x", topic="b", count=3) + self.insert("x", topic="d", count=2)
        bad += [self.insert("x", topic=topic) for topic in ("\u00e9", "\u00a0\u2028", "\U000e0001" * 50)]  # with and without a glyph
        good += self.insert("x", topic="c", count=20)
        self.outboxd("run", "--once", code=None)
        self.until_arrived(good)
        for i in bad:
            self.assertRow(i, "pending", 1, "the user may not publish to the subject `out.")
        self.config(self.server.section().replace("out.{topic}", "out.b"))
        self.insert("x")
        self.assertIn("may not publish to the subject `out.b`", self.outboxd("run", "--once", "--wait", "1s", code=1).stderr)
        self.assertEqual(self.statuses(), [("pending", 0, 1), ("pending", 1, 8), ("processed", 0, 40)])

    def test_answers_that_cannot_come_are_told_before_anything_is_sent(self):
        self.users('publish: ">", subscribe: "_MINE.>"')
        self.nats()
        self.insert("x")
        self.assertIn("may not subscribe to its inbox", self.outboxd("run", "--once", "--wait", "1s", code=1).stderr)
        self.assertEqual(self.server.ids(), [])
        self.nats("inbox_prefix = _MINE")
        self.outboxd("run", "--once")
        self.assertEqual(self.statuses(), [("processed", 0, 1)])

    def test_somebody_else_who_answers_takes_nothing(self):
        self.broker()
        self.config(self.server.section().replace("out.{topic}", "{topic}"), "retry_min = 1h\nretry_max = 1h")
        self.outboxd("init")
        bad = self.insert("x", topic="service")
        with self.server.client() as client:
            client.send(b"SUB service 2\r\nPING\r\n")
            client.expect_pong()
            process = self.start("run", "--once")
            subject = client.file.readline().split()[3].decode()
            client.file.readline()
            client.publish(subject, b"thanks")
            process.wait(outbox_test.PATIENCE)
        self.assertRow(bad, "pending", 1, "somebody else than JetStream answers")

    def test_a_silent_stream_holds_up_its_own_messages_alone(self):
        self.broker()
        self.config(self.server.section(more="publish_timeout = 1s").replace("out.{topic}", "{topic}"), "poll_interval = 100ms")
        self.outboxd("init")
        with self.server.client() as client:  # takes messages, and never answers
            client.send(b"SUB silent 2\r\nPING\r\n")
            client.expect_pong()
            relay = self.start("run")
            silent = self.insert("x", topic="silent")
            client.file.readline()
            self.until_status(self.insert("x", topic="out.a"), "processed")
            self.until(lambda: self.row(silent)["last_error"], "the silence")
            self.until_status(self.insert("x", topic="out.a"), "processed")
        row = self.row(silent)  # maybe on its way again
        self.assertEqual(row["retries"], 0)
        self.assertIn("no stream confirms it within publish_timeout", row["last_error"])
        self.assertNotIn("publisher is unavailable", self.read("relay.log"))
        self.stop(relay)

    def test_a_stream_that_promises_less_is_told_of(self):
        self.broker(stream={"storage": "memory", "duplicate_window": 10 * 10**9})
        self.nats("stream = out")
        said = self.outboxd("check", "--connect").stderr
        self.assertIn("is in memory", said)
        self.assertIn("duplicate_window is only 10 s", said)
        self.nats("stream = other")
        self.insert("x")
        self.assertIn("stream other: stream not found (10059)", self.outboxd("check", "--connect", code=None).stderr)
        self.server.delete()
        self.server.stream["no_ack"] = True
        self.server.is_ready()
        self.nats("stream = out")
        self.assertIn("acknowledges nothing", self.outboxd("check", "--connect", code=None).stderr)

    # ---- other logins, and TLS

    def key(self):
        """A key, or the case is left out."""
        try:
            return nats_server.Key("U")
        except ImportError:
            self.skipTest("python3-cryptography is missing")

    def delivers(self, options):
        self.with_url("nats://127.0.0.1:%d" % self.server.port, "subject = out\n" + options)
        i = self.insert("x")
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        self.assertIn(i, self.server.ids())

    def test_a_token_and_a_key_log_in(self):
        self.broker("authorization { token: \"%s\" }\n" % SECRET, login=(SECRET, None))
        self.delivers("token_file = " + self.write("token", SECRET, 0o600))
        self.server.stop()
        admin, key = self.key(), self.key()
        self.server.configure("authorization { users = [{nkey: %s}, {nkey: %s}] }\n" % (admin.public, key.public))
        self.server.login = (admin, None)
        self.server.start()
        self.delivers("nkey_file = " + self.write("nkey", "# the relay's\n%s\n" % key.seed, 0o600))
        self.write("nkey", self.key().seed, 0o600)
        self.insert("x")
        said = self.outboxd("run", "--once", "--wait", "1s", code=1).stderr
        self.assertIn("refuses the login as `nkey_file`", said)
        self.assertNotIn(key.seed, said)
        os.chmod(self.path("nkey"), 0o640)
        self.assertEqual("others may read it" in self.outboxd("check", "--connect", code=None).stderr, os.geteuid() != 0)
        os.chmod(self.path("nkey"), 0o644)
        self.assertIn("others may read it", self.outboxd("check", "--connect", code=None).stderr)

    def test_a_credentials_file_logs_in_and_can_be_replaced(self):
        self.key()
        operator = nats_server.Operator()
        self.broker(operator.config, login=operator.user("admin"))
        credentials = operator.credentials(*operator.user("relay"))
        self.delivers("creds_file = " + self.write("creds", credentials, 0o600))
        self.write("creds", nats_server.Operator().credentials(*nats_server.Operator().user("relay")), 0o600)
        i = self.insert("x")
        relay = self.start("run")
        self.until(lambda: "refuses the login as `creds_file`" in self.read("relay.log"), "the refusal")
        self.write("creds", credentials, 0o600)
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def test_tls(self):
        cert, key = self.certificate()
        context = ssl.create_default_context(cafile=cert)
        context.load_cert_chain(cert, key)
        self.broker("%stls { cert_file: \"%s\", key_file: \"%s\", ca_file: \"%s\", verify: true }\n"
                    % (nats_server.USERS % SECRET, cert, key, cert), tls=context)
        url = "tls://relay:%s@%%s:%d" % (SECRET, self.server.port)
        mine = "cert_file = %s\nkey_file = %s\n" % (cert, key)
        for host, options, said in (("localhost", mine, "certificate"), ("127.0.0.1", mine + "ca_file = " + cert, "mismatch"),
                                    ("localhost", "ca_file = /nowhere", "cannot be read"),
                                    ("localhost", "ca_file = " + cert, "localhost")):
            self.with_url(url % host, "subject = out\n" + options)
            self.assertIn(said, self.outboxd("check", "--connect", code=1).stderr)
        for host, options in (("localhost", "ca_file = " + cert), ("127.0.0.1", "tls_verify = no")):
            self.with_url(url % host, "subject = out\n" + mine + options)
            ids = self.insert("x" * 20000, count=100)
            self.outboxd("run", "--once")
            self.assertLessEqual(set(ids), set(self.server.ids()))
        self.with_url("nats://relay:%s@localhost:%d" % (SECRET, self.server.port), "subject = out")
        said = self.outboxd("check", "--connect", code=1).stderr
        self.assertIn("the server demands TLS; write tls://", said)
        self.assertNotIn(SECRET, said)
        self.server.reload(nats_server.USERS % SECRET)
        self.with_url(url % "localhost", "subject = out\n" + mine)
        self.assertIn("the server has no TLS", self.outboxd("check", "--connect", code=1).stderr)

    def certificate(self):
        """Of localhost; returns the paths of it and of its key."""
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=localhost", "-addext",
                     "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem")
        os.chmod(self.path("key.pem"), 0o600)
        return self.path("cert.pem"), self.path("key.pem")

    def stalling_way(self, cut, stalled):
        """The port of a way to the server: once told to cut, the first bytes of an answer are the last ones."""
        def pass_on(source, sink, is_answer):
            held = False
            with source, sink:
                while True:
                    data = source.recv(65536)
                    if not data:
                        return
                    if is_answer and cut.is_set() and not stalled.is_set():
                        sink.sendall(data[:10])
                        held = True
                        stalled.set()
                    if not held:
                        sink.sendall(data)

        def guarded(function, *args):
            try:
                function(*args)
            except OSError:
                pass  # the other direction has ended

        def accept():
            while True:
                client = way.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.server.port))
                for args in ((server, client, True), (client, server, False)):
                    threading.Thread(target=guarded, args=(pass_on, *args), daemon=True).start()
        way = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(way.close)
        threading.Thread(target=guarded, args=(accept, ), daemon=True).start()
        return way.getsockname()[1]

    def test_a_connection_that_stalls_in_a_record_of_tls_is_left(self):
        cert, key = self.certificate()
        self.broker("%stls { cert_file: \"%s\", key_file: \"%s\" }\n" % (nats_server.USERS % SECRET, cert, key),
                    tls=ssl.create_default_context(cafile=cert))
        cut, stalled = threading.Event(), threading.Event()
        self.with_url("tls://relay:%s@localhost:%d" % (SECRET, self.stalling_way(cut, stalled)),
                      "subject = out\nca_file = %s\npublish_timeout = 1s" % cert, "poll_interval = 100ms")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        cut.set()
        self.insert("x", count=5)
        self.until(stalled.is_set, "an answer")
        self.until(lambda: self.statuses() == [("processed", 0, 6)], "all to be processed, uncharged")
        self.assertIn("no confirm within publish_timeout, in the middle of a record", self.read("relay.log"))
        self.stop(relay)

    def test_a_server_that_never_begins_tls_holds_nobody_up(self):
        with socket.create_server(("127.0.0.1", 0)) as fake:
            self.with_url("tls://127.0.0.1:%d" % fake.getsockname()[1], "subject = out\nconnect_timeout = 500ms")
            i = self.insert("x")
            relay = self.start("run")
            connections = []
            for _ in range(2):
                connections.append(fake.accept()[0])
                connections[-1].sendall(b'INFO {"server_id":"x","headers":true,"max_payload":1000000,"tls_required":true}\r\n')
            self.until(lambda: "no answer within connect_timeout" in self.read("relay.log"), "the try to be given up")
            self.stop(relay)
            for connection in connections:
                connection.close()
        self.assertRow(i, "pending", 0, "")

    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        self.broker(start=False)
        command = "%s %s %%s %s" % (sys.executable, nats_server.__file__, self.server.folder)
        subprocess.run((command % "start").split(), check=True)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-nats.so"),
                               "%s\n[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (self.server.section().replace("plugin = nats\n", ""), command % "ids", command % "stop",
                                  command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.skipped, run.reached()), (0, [], [], 4), run.text())

    def test_wrong_options_are_told_with_their_lines(self):
        for options, said in (("subject = a.*", "subject: it has a `*`"), ("key_file = /x", "key_file: it needs an url with tls://"),
                              ("password = x", "password: url names no user"), ("token = x\nnkey_file = /x", "nkey_file: token says"),
                              ("subject = a\nallow_subjects = b", "subject: "), ("publish_timeout = 1h", "publish_timeout"),
                              ("stream = a.b", "stream: "), ("key_header = Nats-Key", "key_header: "),
                              ("inbox_prefix = a.", "inbox_prefix: it ends with a dot")):
            self.config("[publisher out]\nplugin = nats\nurl = nats://h\n%s\n" % options)
            self.assertIn(said, self.outboxd("check", code=2).stderr)
        for url, said in (("nats://relay:%s@h:99999" % SECRET, "port"), ("nats://%s@h" % SECRET, "without a password")):
            self.config("[publisher out]\nplugin = nats\nurl = %s\n" % url)
            done = self.outboxd("check", code=2)
            self.assertIn(said, done.stderr)
            self.assertNotIn(SECRET, done.stderr)


if __name__ == "__main__":
    outbox_test.main()
