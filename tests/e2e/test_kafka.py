# SPDX-License-Identifier: Apache-2.0
"""pub-kafka: from a shop's database to a broker of Kafka, and while there is none."""

import collections
import os
import signal
import subprocess
import sys
import unittest
import unittest.mock

import conform_test
import kafka_mock
import kafka_server
import outbox_test
import relay_test

SECRET = kafka_server.PASSWORD


class Relay(relay_test.Relay):
    def setUp(self):
        super().setUp()
        preload = kafka_server.preload()
        if preload:
            patch = unittest.mock.patch.dict(os.environ, LD_PRELOAD=preload)
            patch.start()
            self.addCleanup(patch.stop)


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-kafka.so")), "pub-kafka is not built")
class Kafka(Relay):
    def broker(self, start=True, **settings):
        self.server = kafka_server.Broker(self.path("broker"), **settings)
        self.addCleanup(self.server.stop)
        if start:
            self.server.start()
        return self.server

    def kafka(self, options="", relay="", section=None):
        self.config(section or self.server.section(more=options), relay)
        self.outboxd("init")

    def until_arrived(self, ids):
        """All are there, at least once."""
        self.until(lambda: set(ids) <= set(self.server.ids()), "%d messages to arrive" % len(ids))
        self.assertLessEqual(set(self.server.ids()), set(ids))

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def until_all(self, *statuses):
        self.until(lambda: self.statuses() == list(statuses), "%s, not %s" % (statuses, self.statuses()))

    def until_logged(self, text):
        self.until(lambda: text in self.read("relay.log"), "`%s` in the log" % text)

    def test_every_message_arrives_once_and_as_it_was(self):
        self.broker()
        self.kafka("topic = shop.{topic}", relay="workers = 2")
        ids = self.insert("h\u00e9llo", topic="order", count=1200, key="k\u00e9y", created_at=1700000000123000,
                          headers='{"b": "2", "a": "1", "message-id": "mine", "empty": ""}')
        tombstone, empty = self.insert(None, topic="order", key="gone"), self.insert("", topic="order")
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        got = self.server.arrived()
        self.assertEqual(collections.Counter(self.server.ids()), collections.Counter([*ids, tombstone, empty]))
        self.assertEqual({m["topic"] for m in got}, {"shop.order"})
        by_id = {dict(m["headers"])["message-id"]: m for m in got}
        first = by_id[ids[0]]
        self.assertEqual(first["headers"], [["message-id", ids[0]], ["b", "2"], ["a", "1"], ["empty", ""]])
        self.assertEqual((first["key"], first["value"], first["time"]), ("k\u00e9y", "h\u00e9llo", 1700000000123))
        self.assertEqual((by_id[tombstone]["key"], by_id[tombstone]["value"]), ("gone", None))
        self.assertEqual((by_id[empty]["key"], by_id[empty]["value"]), (None, ""))
        self.assertEqual(self.statuses(), [("processed", 0, 1202)])

    def test_messages_of_a_key_are_in_the_partition_that_clients_in_java_choose(self):
        self.broker(partitions=7)
        self.kafka("topic = t")
        # Of the unit tests of Kafka's clients.
        hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
                  "a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971}
        for key in hashes:
            self.insert("x", key=key, count=3)
        self.outboxd("run", "--once")
        self.assertEqual({(m["key"], m["partition"]) for m in self.server.arrived()},
                         {(key, (h & 0x7FFFFFFF) % 7) for key, h in hashes.items()})

    def test_every_message_arrives_once_while_the_broker_is_killed_and_connections_are_cut(self):
        self.broker(cut=1)
        self.kafka("kafka.linger.ms = 0", relay="workers = 2\nbatch_size = 50\npoll_interval = 100ms")
        ids = []
        relay = self.start("run")
        for _ in range(3):
            processed = self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]
            ids += self.insert("y", count=1000)
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0] > processed,
                       "some to be published")
            self.server.kill()
            self.server.start()
        self.until_all(("processed", 0, len(ids)))
        self.assertEqual(collections.Counter(self.server.ids()), collections.Counter(ids))
        self.stop(relay)

    def test_an_outage_charges_no_message_and_is_noticed_while_nothing_is_published(self):
        self.broker(start=False)
        self.kafka(relay="poll_interval = 100ms")
        ids = self.insert("x", count=50)
        relay = self.start("run")
        self.until_logged("publisher is unavailable")
        self.assertIn("Connection refused", self.read("relay.log"))
        self.server.start()
        self.until_all(("processed", 0, 50))
        self.server.stop()
        self.until(lambda: self.read("relay.log").count("publisher is unavailable") == 2, "the outage in the log")
        self.server.start()
        ids.append(self.insert("y"))
        self.until_all(("processed", 0, 51))
        self.assertEqual(collections.Counter(self.server.ids()), collections.Counter(ids))
        self.stop(relay)

    def test_a_broker_that_falls_silent_is_left_and_taken_up_again(self):
        self.broker()
        self.kafka("publish_timeout = 1s\nconnect_timeout = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal("kafka", signal.SIGSTOP)
        self.addCleanup(self.server.signal, "kafka", signal.SIGCONT)
        self.insert("x", count=20)
        self.until_logged("no acknowledgement within publish_timeout")
        self.server.signal("kafka", signal.SIGCONT)
        self.until_all(("processed", 0, 21))
        self.stop(relay)

    def test_one_that_is_refused_in_a_batch_is_found_and_the_others_are_not_charged(self):
        self.broker()
        self.kafka(relay="retry_min = 1h\nretry_max = 1h")
        self.insert("x", count=300, key="k")
        invalid = self.insert("x", key="k", headers='{"refuse": "87"}')
        policy = self.insert("x", key="k", headers='{"refuse": "44"}')
        self.insert("x", count=300, key="k")
        relay = self.start("run")
        self.until_all(("failed", 1, 1), ("pending", 1, 1), ("processed", 0, 600))
        self.assertIn("(INVALID_RECORD)", self.row(invalid)["last_error"])
        self.assertIn("(POLICY_VIOLATION)", self.row(policy)["last_error"])
        self.assertIn("each message goes in its own", self.read("relay.log"))
        self.assertEqual(len(self.server.ids()), 600)
        self.stop(relay)

    def test_one_that_the_broker_fails_at_without_a_reason_is_charged_while_others_are_taken(self):
        self.broker()
        self.kafka(relay="poll_interval = 100ms\nretry_min = 1h\nretry_max = 1h")
        self.insert("x", count=20, key="k")
        bad = self.insert("x", key="k", headers='{"refuse": "-1"}')
        relay = self.start("run")

        def is_told():
            self.insert("x", key="k")
            return self.row(bad)["retries"]
        self.until(is_told, "the charge")
        self.assertIn("(UNKNOWN)", self.row(bad)["last_error"])
        self.until(lambda: {row[:2] for row in self.statuses()} == {("pending", 1), ("processed", 0)}, "the others")
        self.stop(relay)

    def test_a_batch_over_the_limit_of_the_topic_is_sent_in_smaller_ones(self):
        self.broker(max_bytes=5000)
        self.kafka("kafka.message.max.bytes = 50000")
        self.insert("x" * 1000, count=50, key="k")
        big, bigger = self.insert("x" * 6000), self.insert("x" * 60000)
        relay = self.start("run")
        self.until_all(("failed", 1, 2), ("processed", 0, 50))
        for i, who in ((big, "the broker"), (bigger, "librdkafka")):
            self.assertIn(who + " refuses it", self.row(i)["last_error"])
            self.assertIn("(MSG_SIZE_TOO_LARGE)", self.row(i)["last_error"])
        self.assertIn("set kafka.batch.size", self.read("relay.log"))
        self.stop(relay)

    def test_a_topic_that_a_message_names_is_charged_and_a_fixed_one_is_an_outage(self):
        self.broker(auto_create=False, topic_errors={"secret": 29})
        self.server.topic("other")
        self.kafka("publish_timeout = 2s", relay="retry_min = 1h\nretry_max = 1h")
        missing, secret = self.insert("x", topic="missing"), self.insert("x", topic="secret")
        self.insert("x", topic="other")
        self.outboxd("run", "--once", code=None)
        self.until_all(("pending", 1, 2), ("processed", 0, 1))
        self.assertIn("UNKNOWN_TOPIC", self.row(missing)["last_error"])
        self.assertIn("(TOPIC_AUTHORIZATION_FAILED)", self.row(secret)["last_error"])
        self.kafka("topic = fixed\npublish_timeout = 2s", relay="poll_interval = 100ms")
        self.assertIn("topic fixed: ", self.outboxd("check", "--connect", code=None).stderr)
        i = self.insert("x", topic="any")
        relay = self.start("run")
        self.until_logged("publisher is unavailable")
        self.assertEqual(self.row(i)["retries"], 0)
        self.server.topic("fixed")
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_what_the_cluster_cannot_take_now_waits_uncharged(self):
        self.broker()
        self.kafka("publish_timeout = 1s", relay="poll_interval = 100ms")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        for error in (19, 56, 45):  # replicas, a disk, the sequence
            self.server.set(error=error)
            ids = self.insert("x", count=20)
            before = self.read("relay.log").count("publisher is unavailable")
            self.until(lambda: self.read("relay.log").count("publisher is unavailable") > before, "the outage by %d" % error)
            self.assertEqual({self.row(i)["retries"] for i in ids}, {0})
            self.server.set(error=None)
            self.until(lambda: {self.row(i)["status"] for i in ids} == {"processed"}, "all after %d" % error)
        self.assertEqual({retries for _, retries, _ in self.statuses()}, {0})
        self.stop(relay)

    def test_a_user_who_may_not_write_at_all_is_told(self):
        self.broker(pid_error=31)
        self.kafka("connect_timeout = 1s", relay="poll_interval = 100ms")
        relay = self.start("run")
        i = self.insert("x")
        self.until_logged("Cluster authorization failed")
        self.server.set(pid_error=None)
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_each_way_to_log_in_and_a_password_that_changes(self):
        self.broker()
        password = self.write("password", SECRET, 0o600)
        for mechanism in ("plain", "scram-sha-256", "scram-sha-512"):
            self.server.set(mechanism=mechanism.upper())
            self.kafka(section="[publisher out]\nplugin = kafka\nurl = kafka://relay@127.0.0.1:%d\npassword_file = %s\n"
                       "sasl_mechanism = %s\n" % (self.server.port, password, mechanism), relay="poll_interval = 100ms")
            self.outboxd("check", "--connect")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.set(password="new")
        self.write("password", "new", 0o600)
        self.server.stop()
        self.server.start()
        self.assertEqual(self.until_status(self.insert("x"), "processed")["retries"], 0)
        self.server.set(password="newer")
        self.server.stop()
        self.server.start()
        i = self.insert("x")
        self.until_logged("uthentication failed")
        self.write("password", "newer", 0o600)
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_a_refused_login_charges_no_message_and_shows_no_secret(self):
        self.broker(password="another")
        for mechanism in ("plain", "scram-sha-512"):
            self.server.set(mechanism=mechanism.upper())
            self.kafka("sasl_mechanism = %s\nkafka.debug = all" % mechanism, relay="\n[log]\nlevel = debug\n")
            i = self.insert("x")
            done = self.outboxd("run", "--once", "--wait", "1s", code=1)
            self.assertIn("uthentication failed", done.stderr)
            self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
            check = self.outboxd("check", "--connect", code=None)
            self.assertNotEqual(check.returncode, 0)
            for text in (done.stdout, done.stderr, check.stdout, check.stderr, self.row(i)["last_error"] or ""):
                self.assertNotIn(SECRET, text)

    def test_one_broker_that_refuses_the_login_does_not_make_the_others_useless(self):
        self.broker()
        other = kafka_server.Broker(self.path("other"), password="another")
        self.addCleanup(other.stop)
        other.start()
        self.kafka(section="[publisher out]\nplugin = kafka\nurl = kafka://relay@127.0.0.1:%d,127.0.0.1:%d\npassword = %s\n"
                   % (other.port, self.server.port, SECRET))
        for _ in range(4):  # the library begins with any of them
            self.outboxd("check", "--connect")
        self.server.stop()
        self.assertIn("uthentication failed", self.outboxd("check", "--connect", code=None).stderr)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def test_tls(self):
        new = ["req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=localhost"]
        self.openssl(*new, "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem")
        os.chmod(self.path("key.pem"), 0o600)
        cert, key = self.path("cert.pem"), self.path("key.pem")
        self.broker(cert=cert, key=key, ca=cert, host="localhost")

        def use(host, options):
            self.kafka(section="[publisher out]\nplugin = kafka\nurl = kafkas://relay@%s:%d\npassword = %s\n%s\n"
                       % (host, self.server.port, SECRET, options))
        mine = "\ncert_file = %s\nkey_file = %s" % (cert, key)
        for host, options, said in (("localhost", mine, "certificate verify failed"), ("localhost", "ca_file = /nowhere" + mine, "/nowhere"),
                                    ("127.0.0.1", "ca_file = " + cert + mine, "certificate"), ("localhost", "ca_file = " + cert, "SSL")):
            use(host, options)
            self.assertIn(said, self.outboxd("check", "--connect", code=None).stderr)
        for host, options in (("localhost", "ca_file = " + cert + mine), ("127.0.0.1", "tls_verify = no" + mine)):
            use(host, options)
            ids = self.insert("x", count=20)
            self.outboxd("run", "--once")
            self.until(lambda: set(ids) <= set(self.server.ids()), "what was sent by " + host)

    def test_weak_settings_of_the_topic_are_told(self):
        self.broker(replicas=3, configs={"min.insync.replicas": "1", "unclean.leader.election.enable": "true",
                                         "max.message.bytes": "1000"})
        self.server.topic("t")
        self.kafka("topic = t")
        said = self.outboxd("check", "--connect").stderr
        for text in ("min.insync.replicas is 1", "unclean.leader.election.enable is true", "kafka.batch.size"):
            self.assertIn(text, said)
        self.server.set(replicas=1)
        self.assertIn("it has no replicas", self.outboxd("check", "--connect").stderr)

    def test_a_topic_that_is_not_allowed_or_none_of_kafka_is_rejected(self):
        self.broker()
        self.kafka("allow_topics = order.*, t")
        ids = [self.insert("x", topic=topic) for topic in ("order.placed", "other", "order./", "order." + "x" * 250)]
        self.outboxd("run", "--once", code=None)
        self.assertEqual([self.row(i)["status"] for i in ids], ["processed", "failed", "failed", "failed"])
        self.kafka()
        i = self.insert("x", topic="__consumer_offsets")
        self.outboxd("run", "--once", code=None)
        self.assertIn("begins with `__`", self.row(i)["last_error"])

    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        self.broker(start=False)
        command = "%s %s %%s %s" % (sys.executable, kafka_server.__file__, self.server.folder)
        subprocess.run((command % "start").split(), check=True)
        section = "".join(line + "\n" for line in self.server.section().split("\n") if not line.startswith("plugin"))
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-kafka.so"),
                               "%s[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (section, command % "ids", command % "kill", command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.skipped, run.reached()), (0, [], [], 4), run.text())

    def test_wrong_options_are_told_with_their_lines(self):
        for options, said in (("topic = a/b", "topic: "), ("topic = a\nallow_topics = b", "topic: "), ("key_file = /x", "key_file: it needs"),
                              ("password = x", "password: url names no user"), ("sasl_mechanism = plain", "sasl_mechanism: url names"),
                              ("publish_timeout = 1h", "publish_timeout"), ("kafka.nonsense = 1", "kafka.nonsense: "),
                              ("kafka.linger.ms = soon", "kafka.linger.ms: "), ("kafka.acks = 1", "kafka.acks: this one cannot be set"),
                              ("kafka.sasl.password = x", "kafka.sasl.password: set password_file"),
                              ("kafka.plugin.library.paths = /x.so", "kafka.plugin.library.paths: this"),
                              ("kafka.log_cb = 1", "kafka.log_cb: "), ("kafka.max.in.flight = 6", "max.in.flight"),
                              ("kafka.sasl.kerberos.kinit.cmd = x", "this one cannot be set")):
            self.config("[publisher out]\nplugin = kafka\nurl = kafka://h\n%s\n" % options)
            said_now = self.outboxd("check", code=2).stderr
            self.assertIn(said, said_now)
            if options.startswith("kafka.") and "flight" not in options:
                self.assertRegex(said_now, r"outboxd\.ini:11\b")
        self.config("[publisher out]\nplugin = kafka\nurl = kafka://relay:%s@h:99999\n" % SECRET)
        done = self.outboxd("check", code=2)
        self.assertIn("port", done.stderr)
        self.assertNotIn(SECRET, done.stderr)


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-kafka.so")), "pub-kafka is not built")
class Cluster(Relay):
    """librdkafka's own cluster, of three brokers in memory; it does not know batches that come twice."""

    def test_messages_arrive_while_brokers_go_down_and_partitions_move(self):
        cluster = kafka_mock.Cluster(self.path("cluster"), brokers=3, partitions=6)
        self.addCleanup(cluster.stop)
        cluster.start()
        self.config(cluster.section(more="kafka.linger.ms = 1"), "workers = 2\nbatch_size = 100\npoll_interval = 100ms")
        self.outboxd("init")
        self.outboxd("check", "--connect")
        relay = self.start("run")
        ids = []

        def load(*commands):
            ids.extend(self.insert("x", count=500))
            for command in commands:
                cluster.tell(command)
            ids.extend(self.insert("y", count=500, key="k"))
            self.until(lambda: set(ids) <= set(cluster.ids()), "%d to arrive after %s" % (len(ids), commands))
        load()
        load(*("leader %d %d" % (i, i % 2 + 1) for i in range(6)), "down 3")
        load("up 3", "error 0 6 2", "error 0 7 2", "error 0 19 2", "error 0 -195 1")
        cluster.tell("down -1")
        self.insert("z")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        load("up -1", "rtt 50")
        self.until(lambda: self.query("SELECT DISTINCT status, retries FROM outbox_messages") == [("processed", 0)], "all of them")
        self.stop(relay)


if __name__ == "__main__":
    outbox_test.main()
