# SPDX-License-Identifier: Apache-2.0
"""pub-redis: from a shop's database to a real Redis, and while there is none."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest

import conform_test
import outbox_test
import redis_server
import relay_test

SECRET = "s3cr3t-passw0rd"
SLOW = "retry_min = 1h\nretry_max = 1h"


class Case(relay_test.Relay):
    def server_of(self, name="redis", options="", start=True, **kwargs):
        server = redis_server.Broker(self.path(name), options, **kwargs)
        self.addCleanup(server.stop)
        if start:
            server.start()
        return server

    def replica_of(self, master, name="replica", options=""):
        return self.server_of(name, "replicaof 127.0.0.1 %d\nreplica-announce-ip 127.0.0.1\n%s" % (master.port, options))

    def broker(self, options="", start=True):
        self.server = self.server_of(options=options, start=start)
        return "redis://127.0.0.1:%d" % self.server.port

    def redis(self, url, options="stream = outbox", relay=""):
        self.config("[publisher out]\nplugin = redis\nurl = %s\n%s\n" % (url, options), relay)
        self.outboxd("init")

    def once(self, code=None):
        return self.outboxd("run", "--once", "--wait", "100ms", code=code)

    def recovers(self, i):
        """What could not be sent is due again a little later."""
        self.until(lambda: self.once() and self.row(i)["status"] == "processed", "the end of the outage")
        self.row_is(i, "processed", 0)

    def checked(self):
        """What `check --connect` complains about."""
        return self.outboxd("check", "--connect", code=None).stderr

    def row_is(self, i, status, retries, reason=""):
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), (status, retries), row)
        self.assertIn(reason, row["last_error"] or "")

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def processed(self):
        return self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]

    def until_log(self, text, log="relay.log"):
        self.until(lambda: text in self.read(log), "`%s` in the log" % text)

    def settled(self, n):
        self.until(lambda: self.statuses() == [("processed", 0, n)], "all to be processed, uncharged")


NEEDED = (unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-redis.so")), "pub-redis is not built"),
          unittest.skipIf(redis_server.MISSING, redis_server.MISSING))


def needed(case):
    for skip in NEEDED:
        case = skip(case)
    return case


@needed
class Entries(Case):
    """What arrives."""

    def test_every_message_arrives_once_and_as_it_was(self):
        self.redis(self.broker(), "stream = shop.{topic}\nallow_streams = shop.*", relay="workers = 2")
        ids = self.insert("h\u00e9llo", topic="order", count=2400, key="k.1",
                          headers='{"b": "2", "a": "", "payload": "mine", "message-id": "mine", "x\\ny z": "odd"}')
        self.outboxd("check", "--connect")
        self.once(code=0)
        got = self.server.entries("shop.order")
        self.assertEqual(sorted(entry.pop(b"message-id").decode() for entry in got), sorted(ids))
        self.assertEqual({tuple(entry.items()) for entry in got}, {(
            (b"topic", b"order"), (b"key", b"k.1"), (b"header.b", b"2"), (b"header.a", b""), (b"header.payload", b"mine"),
            (b"header.message-id", b"mine"), (b"header.x\ny z", b"odd"), (b"payload", "h\u00e9llo".encode()))})
        self.assertEqual(self.statuses(), [("processed", 0, 2400)])

    def test_a_payload_of_any_bytes_an_empty_one_and_none_stay_what_they_are(self):
        self.redis(self.broker(), "stream = outbox\ntopic_field =\nkey_field = k")
        for payload in (b"\0\r\n$5\r\n\xff" + bytes(range(256)), b"", None, b"x" * 3000000):
            self.insert(payload, topic="t", key="\u00e4")
        self.once(code=0)
        got = self.server.entries()
        self.assertEqual([entry.get(b"payload") for entry in got],
                         [b"\0\r\n$5\r\n\xff" + bytes(range(256)), b"", None, b"x" * 3000000])
        self.assertEqual(sorted(got[2]), [b"k", b"message-id"])

    def test_headers_without_a_prefix_cannot_pose_as_other_fields(self):
        self.redis(self.broker(), "stream = outbox\nheader_prefix =\nid_field = id\nkey_field =\ntopic_field =")
        i = self.insert("x", key="k", headers='{"id": "mine", "payload": "mine", "key": "free", "\u00e9": "e"}')
        self.once(code=0)
        self.assertEqual(self.server.entries(), [{b"id": i.encode(), b"key": b"free", "\u00e9".encode(): b"e", b"payload": b"x"}])

    def test_a_message_without_anything_for_a_field_is_rejected(self):
        self.redis(self.broker(), "stream = outbox\nid_field =\ntopic_field =")
        i = self.insert(None)
        self.once()
        self.row_is(i, "failed", 1, "no payload")

    def test_old_entries_go_when_there_are_too_many(self):
        url = self.broker()
        for options, most in (("maxlen = 100", 1000), ("maxlen = 100\nmaxlen_exact = yes", 100)):
            self.redis(url, "stream = outbox\nwindow = 50\n" + options)
            ids = self.insert("x", count=1500)
            self.once(code=0)
            got = self.server.ids()
            self.assertLessEqual(set(got), set(ids))
            self.assertTrue(100 <= len(got) <= most, len(got))
            self.server.say("DEL", "outbox")

    def test_the_database_and_the_unix_socket_of_a_url(self):
        url = self.broker("unixsocket %s\n" % self.path("sock"))
        for where, options in ((url + "/3", ""), ("unix://" + self.path("sock"), "database = 3")):
            self.redis(where, "stream = outbox\n" + options)
            i = self.insert("x")
            self.once(code=0)
            self.row_is(i, "processed", 0)
        with self.server.client() as say:
            self.assertEqual(say("XLEN", "outbox"), 0)
            say("SELECT", 3)
            self.assertEqual(say("XLEN", "outbox"), 2)


@needed
class Refusals(Case):
    """What Redis refuses, and what becomes of the message."""

    def test_a_stream_that_is_none_of_a_fixed_name_pauses_and_of_a_message_is_charged(self):
        url = self.broker()
        self.server.say("SET", "taken", "x")
        self.redis(url, "stream = taken")
        i = self.insert("x")
        self.assertIn("`taken` is no stream: it has the type string", self.checked())
        self.once()
        self.row_is(i, "pending", 0)
        self.redis(url, "stream = {topic}", SLOW)
        bad, good = self.insert("x", topic="taken"), self.insert("x", topic="free", count=20)
        self.once()
        self.row_is(bad, "pending", 1, "WRONGTYPE")
        for i in good:
            self.row_is(i, "processed", 0)

    def test_streams_that_do_not_exist_are_not_made_unless_they_may_be(self):
        url = self.broker()
        self.redis(url, "stream = outbox\nnomkstream = yes")
        i = self.insert("x")
        self.assertIn("`outbox` does not exist", self.checked())
        self.once()
        self.row_is(i, "pending", 0)
        self.server.say("XADD", "outbox", "*", "message-id", "first")
        self.recovers(i)
        self.redis(url, "stream = {topic}\nnomkstream = yes", SLOW)
        bad, good = self.insert("x", topic="missing"), self.insert("x", topic="outbox")
        self.once()
        self.row_is(bad, "pending", 1, "the stream does not exist")
        self.row_is(good, "processed", 0)

    def test_a_full_redis_costs_no_message_an_attempt(self):
        self.broker()
        self.config(self.server.section(), "poll_interval = 100ms")
        self.outboxd("init")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.fill()
        ids = self.insert("y", count=30)
        self.until_log("OOM command not allowed")
        self.assertIn("it takes no messages: OOM", self.outboxd("check", "--connect", code=None).stderr)
        self.server.make_room()
        self.settled(31)
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def outage(self, said):
        """A message waits meanwhile."""
        i = self.insert("x")
        self.assertIn("it takes no messages: " + said, self.checked())
        self.once()
        self.row_is(i, "pending", 0)
        return i

    def test_too_few_replicas_for_redis_itself_and_a_failed_snapshot_are_outages(self):
        self.redis(self.broker())
        say = self.server.say
        say("CONFIG", "SET", "min-replicas-to-write", 1)
        i = self.outage("NOREPLICAS")
        say("CONFIG", "SET", "min-replicas-to-write", 0)
        self.recovers(i)
        os.mkdir(self.path("redis", "dump.rdb"))  # which no snapshot replaces
        say("CONFIG", "SET", "save", "3600 1000000")
        say("BGSAVE")
        self.until(lambda: b"rdb_last_bgsave_status:err" in say("INFO", "persistence"), "the snapshot to fail")
        i = self.outage("MISCONF")
        say("CONFIG", "SET", "save", "")
        self.recovers(i)

    def test_a_script_that_does_not_end_is_an_outage(self):
        url, say = self.broker(), self.server.say
        say("CONFIG", "SET", "lua-time-limit", 50)
        for where, options in ((url, "stream = outbox"), (url, "stream = {topic}"), (url + "/1", "stream = outbox")):
            self.redis(where, options)
            with self.server.client() as other:
                other.send("EVAL", "while true do end", 0)
                self.until(lambda: not self.server.answers(), "the server to be busy")
                self.assertIn("BUSY", self.checked())
                i = self.insert("x")
                self.once()
                self.row_is(i, "pending", 0)
                say("SCRIPT", "KILL")
                self.assertIsInstance(other.reply(), redis_server.Error)
            self.recovers(i)

    def test_what_the_user_may_not_do_pauses_or_is_charged_as_it_is_about_all_or_one(self):
        self.broker()
        say = self.server.say
        say("ACL", "SETUSER", "relay", "resetkeys", "~ok*")
        url = "redis://relay:%s@127.0.0.1:%d" % (redis_server.PASSWORD, self.server.port)
        self.redis(url, "stream = no")
        i = self.insert("x")
        self.assertIn("it takes no messages: NOPERM", self.checked())
        self.once()
        self.row_is(i, "pending", 0)
        self.redis(url, "stream = {topic}", SLOW)
        bad, good = self.insert("x", topic="no"), self.insert("x", topic="ok", count=20)
        self.once()
        self.row_is(bad, "pending", 1, "NOPERM")
        self.row_is(good[0], "processed", 0)
        say("ACL", "SETUSER", "relay", "-xadd")
        i = self.insert("x", topic="ok")
        self.once()
        self.row_is(i, "pending", 0, "")

    def test_a_user_who_may_add_and_do_nothing_else_is_enough_and_what_is_not_known_is_told(self):
        self.broker()
        self.server.say("ACL", "SETUSER", "relay", "-@all", "+xadd")
        self.config(self.server.section())
        self.outboxd("init")
        i = self.insert("x")
        log = self.once(code=0).stderr
        self.row_is(i, "processed", 0)
        self.assertIn("not known whether it keeps what it acknowledges", log)
        self.config(self.server.section(more="require_appendonly = yes"))
        self.assertIn("not known, since INFO is refused", self.checked())

    def test_a_message_larger_than_redis_takes_is_rejected_and_the_others_are_not(self):
        self.redis(self.broker("proto-max-bulk-len 1mb\n"), relay=SLOW)
        large, good = self.insert("x" * 1500000), self.insert("x", count=20)
        self.once()
        self.row_is(large, "failed", 1, "proto-max-bulk-len")
        self.assertEqual(sorted(self.server.ids()), sorted(good))
        # Without the right to look, the server says it, and hangs up.
        self.server.say("ACL", "SETUSER", "relay", "-@all", "+xadd")
        self.config(self.server.section(), SLOW)
        large, good = self.insert("x" * 1500000), self.insert("x", count=20)
        relay = self.start("run")
        self.until(lambda: self.row(large)["retries"] == 1, "the charge")
        self.row_is(large, "pending", 1, "Protocol error")
        self.until(lambda: set(good) <= set(self.server.ids()), "the others")
        self.until(lambda: self.processed() == 40, "all others to be processed")
        self.stop(relay)

    def test_streams_that_are_not_allowed_are_rejected(self):
        self.redis(self.broker(), "stream = {topic}:{header.a}\nallow_streams = ok*", SLOW)
        for topic, headers, said in (("no", '{"a": "1"}', "not among allow_streams"), ("ok", "{}", "needs the header `a`"),
                                     ("ok", '{"a": "%s"}' % ("x" * 5000), "longer than 4095 bytes")):
            i = self.insert("x", topic=topic, headers=headers)
            self.once()
            self.row_is(i, "failed", 1, said)
        self.assertEqual(self.server.say("DBSIZE"), 0)


@needed
class Outages(Case):
    def test_no_message_is_lost_or_charged_while_redis_is_killed_and_comes_back(self):
        self.broker(start=False)
        self.config(self.server.section(), "workers = 2\nbatch_size = 50\npoll_interval = 100ms")
        self.outboxd("init")
        ids = self.insert("x", count=200)
        relay = self.start("run")
        self.until_log("publisher is unavailable")
        self.assertIn("Connection refused", self.read("relay.log"))
        for _ in range(3):
            self.server.start()
            processed = self.processed()
            ids += self.insert("y", count=2000)
            self.until(lambda: self.processed() > processed, "some to be published")
            self.server.kill()
        self.server.start()
        self.settled(len(ids))
        self.assertEqual(set(self.server.ids()), set(ids))
        self.stop(relay)

    def test_a_redis_that_falls_silent_is_left_and_taken_up_again(self):
        self.redis(self.broker(), "stream = outbox\npublish_timeout = 1s\nconnect_timeout = 1s\nkeepalive = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal("redis", signal.SIGSTOP)
        self.addCleanup(self.server.signal, "redis", signal.SIGCONT)
        ids = self.insert("x", count=20)
        self.until_log("no reply within publish_timeout")
        self.until_log("no answer within connect_timeout")
        self.server.signal("redis", signal.SIGCONT)
        self.settled(21)
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def test_an_outage_is_noticed_while_nothing_is_published_also_a_silent_one(self):
        self.redis(self.broker(), "stream = outbox\npublish_timeout = 1s\nconnect_timeout = 1s\nkeepalive = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.stop()
        self.until_log("publisher is unavailable")
        self.server.start()
        self.assertEqual(self.until_status(self.insert("y"), "processed")["retries"], 0)
        self.server.signal("redis", signal.SIGSTOP)
        self.addCleanup(self.server.signal, "redis", signal.SIGCONT)
        self.until_log("no reply within publish_timeout")
        self.server.signal("redis", signal.SIGCONT)
        self.assertEqual(self.until_status(self.insert("z"), "processed")["retries"], 0)
        self.stop(relay)

    def test_a_refused_login_charges_no_message_shows_no_secret_and_ends_with_the_right_one(self):
        self.broker()
        self.server.say("ACL", "SETUSER", "relay", "resetpass", ">" + SECRET)
        password = self.write("password", "wrong-" + SECRET, 0o600)
        self.redis("redis://relay@127.0.0.1:%d" % self.server.port, "stream = outbox\npassword_file = " + password)
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("refuses the login as `relay`", done.stderr)
        self.row_is(i, "pending", 0)
        check = self.outboxd("check", "--connect", code=None)
        self.assertNotEqual(check.returncode, 0)
        for text in (done.stdout, done.stderr, check.stdout, check.stderr, self.row(i)["last_error"] or ""):
            self.assertNotIn(SECRET, text)
        relay = self.start("run")
        self.until_log("refuses the login")
        self.write("password", SECRET, 0o600)
        self.until_status(i, "processed")
        # A password that is changed meanwhile, and a relay that is thrown out.
        self.server.say("ACL", "SETUSER", "relay", "resetpass", ">new")
        self.write("password", "new", 0o600)
        self.server.say("CLIENT", "KILL", "USER", "relay")
        self.until_status(self.insert("y"), "processed")
        self.stop(relay)

    def test_a_login_that_is_missing_or_not_for_the_default_user_is_told(self):
        url = self.broker("requirepass %s\n" % SECRET)
        self.redis(url)
        self.assertIn("it wants a login, and there is none", self.checked())
        self.redis(url, "stream = outbox\npassword = " + SECRET)
        self.assertEqual(self.checked(), "")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def test_tls(self):
        new = ["req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=localhost"]
        self.openssl(*new, "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem")
        os.chmod(self.path("key.pem"), 0o600)
        cert, key, port = self.path("cert.pem"), self.path("key.pem"), redis_server.server.free_port()
        self.broker("tls-port %d\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients optional\n"
                    % (port, cert, key, cert))
        url = "rediss://%%s:%d" % port
        trusted = "ca_file = %s" % cert
        for host, options, said in (("localhost", "", "its certificate is refused"), ("127.0.0.1", trusted, "its certificate is refused"),
                                    ("localhost", "ca_file = /nowhere", "No such file"),
                                    ("localhost", "ca_file = " + key, "ca_file: ")):
            self.redis(url % host, "stream = outbox\n" + options)
            self.assertIn(said, self.checked())
        for host, options in (("localhost", "%s\ncert_file = %s\nkey_file = %s" % (trusted, cert, key)), ("127.0.0.1", "tls_verify = no")):
            self.redis(url % host, "stream = outbox\n" + options)
            ids = self.insert("x" * 50000, count=50)
            self.once(code=0)
            self.assertLessEqual(set(ids), set(self.server.ids()))
        self.server.say("CONFIG", "SET", "tls-auth-clients", "yes")
        self.redis(url % "localhost", "stream = outbox\n" + trusted)
        self.assertIn("TLS", self.checked())
        os.chmod(key, 0o644)
        self.redis(url % "localhost", "stream = outbox\n%s\ncert_file = %s\nkey_file = %s" % (trusted, cert, key))
        self.assertIn("others may read", self.checked())


class Impostor(threading.Thread):
    """Answers each connection with the same bytes, and hangs up."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer = answer
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(self.answer)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@needed
class Impostors(Case):
    def test_what_is_no_redis_or_an_old_one_is_told_and_no_secret_that_it_repeats(self):
        old = "-ERR unknown command `HELLO`, with args beginning with: `2`, `AUTH`, `relay`, `%s`, \r\n" % SECRET
        for answer, said in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the protocol of Redis"),
                             (old.encode(), "older than Redis 6.0"), (b"", "the server has closed it"),
                             (b"-ERR what is %s\r\n" % SECRET.encode(), "it repeats the password"),
                             (b"-ERR max number of clients reached\r\n", "max number of clients"),
                             (b"-DENIED protected mode\r\n", "DENIED"), (b"*2\r\n$4\r\nmode\r\n:7\r\n", "it is a replica"),
                             (b"+OK\r\n", "its reply to HELLO is none"), (b"$99999999999\r\n", ""), (b"*-5\r\n", ""),
                             (b"*1\r\n" * 20, "publisher out: 127.0.0.1")):  # too deep, or cut short to newer libraries
            impostor = Impostor(answer)
            self.redis("redis://relay:%s@127.0.0.1:%d" % (SECRET, impostor.port), "stream = outbox\nconnect_timeout = 1s")
            done = self.outboxd("check", "--connect", code=None)
            self.assertIn(said, done.stderr)
            self.assertNotIn(SECRET, done.stderr + done.stdout)
            impostor.close()
            impostor.join()


@needed
class Durability(Case):
    def test_a_redis_that_may_lose_what_it_acknowledged_is_told_of_once_or_refused(self):
        url = self.broker()
        self.redis(url, "stream = outbox\nrequire_appendonly = always", "poll_interval = 100ms")
        self.assertEqual(self.checked(), "")
        self.server.say("CONFIG", "SET", "appendfsync", "everysec")
        self.assertIn("require_appendonly: appendfsync is everysec", self.checked())
        self.server.say("CONFIG", "SET", "appendonly", "no")
        self.server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        self.assertIn("require_appendonly: appendonly is off", self.checked())
        self.redis(url, relay="poll_interval = 100ms")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.say("CLIENT", "KILL", "TYPE", "normal")
        self.until_status(self.insert("x"), "processed")
        self.stop(relay)
        log = self.read("relay.log")
        self.assertEqual((log.count("appendonly is off"), log.count("maxmemory-policy is allkeys-lru")), (1, 1), log)
        self.assertIn("level=warn", next(line for line in log.splitlines() if "appendonly is off" in line))

    def waits(self):
        """How many WAIT the server has answered."""
        return int(re.search(rb"cmdstat_wait:calls=(\d+)", self.server.say("INFO", "commandstats"))[1])

    def test_a_message_is_delivered_once_the_replicas_have_it(self):
        url = self.broker()
        self.redis(url, "stream = outbox\nreplicas = 1\nwait_timeout = 300ms", "poll_interval = 100ms")
        i = self.insert("x")
        self.assertIn("0 of 1 replicas are connected", self.checked())
        self.once()
        self.row_is(i, "pending", 0)
        self.assertEqual(self.server.say("EXISTS", "outbox"), 0)
        replica = self.replica_of(self.server)
        relay = self.start("run")
        ids = [i] + self.insert("x", count=3000)
        self.settled(3001)
        self.assertEqual(set(replica.ids()), set(ids))  # some twice, where a busy machine took longer than wait_timeout
        there = len(self.server.ids())
        replica.signal("redis", signal.SIGSTOP)
        self.addCleanup(replica.signal, "redis", signal.SIGCONT)
        ids += self.insert("y", count=10)
        self.until_log("0 of 1 replicas have it within wait_timeout")
        waits = self.waits()
        self.until(lambda: self.waits() > waits + 1, "further tries")
        self.assertEqual(self.processed(), 3001)
        self.assertLessEqual(len(self.server.ids()), there + 10)  # the further tries add nothing
        replica.signal("redis", signal.SIGCONT)
        self.settled(3011)
        self.assertEqual(set(replica.ids()), set(ids))
        self.stop(relay)

    def test_fsync_is_waited_for_where_the_server_can_and_refused_where_not(self):
        url = self.broker()
        self.redis(url, "stream = outbox\nfsync = local")
        try:
            self.server.say("WAITAOF", 0, 0, 1)
        except redis_server.Error:
            self.assertIn("does not know WAITAOF", self.checked())
            return
        replica = self.replica_of(self.server)
        for options in ("fsync = local", "fsync = local\nreplicas = 1", "fsync = all\nreplicas = 1"):
            self.redis(url, "stream = outbox\n" + options)
            ids = self.insert("x", count=500)
            self.once(code=0)
            self.assertLessEqual(set(ids), set(self.server.ids()))
        self.assertEqual(len(replica.ids()), 1500)
        self.server.say("CONFIG", "SET", "appendonly", "no")
        self.assertIn("fsync: ", self.checked())


@needed
class Roles(Case):
    def test_a_replica_is_passed_by_and_one_that_becomes_a_replica_is_left(self):
        master = self.server = self.server_of()
        replica = self.replica_of(master)
        self.redis("redis://127.0.0.1:%d" % replica.port)
        self.assertIn("it is a replica", self.checked())
        self.redis("redis://127.0.0.1:%d,127.0.0.1:%d" % (replica.port, master.port), relay="poll_interval = 100ms")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        replica.say("REPLICAOF", "NO", "ONE")
        master.say("REPLICAOF", "127.0.0.1", replica.port)
        i = self.insert("y")
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.until(lambda: i in replica.ids(), "the message at the new master")
        self.stop(relay)

    def test_a_cluster_and_a_sentinel_in_place_of_a_server_are_refused_clearly(self):
        self.redis(self.broker("cluster-enabled yes\ncluster-port %d\n" % redis_server.server.free_port()))
        self.assertIn("it belongs to a cluster", self.checked())
        sentinel = self.sentinel_of(self.server.port)
        self.redis("redis://127.0.0.1:%d" % sentinel.port)
        self.assertIn("it is a sentinel: set sentinel", self.checked())
        self.redis("redis://127.0.0.1:%d" % sentinel.port, "stream = outbox\nsentinel = other")
        self.assertIn("knows no master `other`", self.checked())

    def sentinel_of(self, port, options=""):
        sentinel = redis_server.Sentinel(self.path("sentinel"), port, options)
        self.addCleanup(sentinel.stop)
        sentinel.start()
        return sentinel

    def test_a_failover_by_sentinels_under_load_loses_nothing_that_replicas_had(self):
        master = self.server = self.server_of("one", "replica-announce-ip 127.0.0.1\n")
        replica = self.replica_of(master, "two")
        sentinel = self.sentinel_of(master.port, "requirepass %s\n" % SECRET)
        secret = self.write("sentinel-password", SECRET, 0o600)
        self.redis("redis://relay:%s@127.0.0.1:1,127.0.0.1:%d" % (redis_server.PASSWORD, sentinel.port),
                   "stream = outbox\nsentinel = main\nsentinel_password_file = %s\nreplicas = 1\nwait_timeout = 500ms" % secret,
                   "poll_interval = 100ms\nbatch_size = 50")
        sentinel.until_sees(replica)
        self.until(lambda: self.checked() == "", "nothing to complain about")
        ids = self.insert("x", count=2000)
        relay = self.start("run")
        self.until(lambda: self.processed() > 100, "some to be published")
        master.kill()
        delivered = [row[0] for row in self.query("SELECT id FROM outbox_messages WHERE status = 'processed'")]
        self.until(replica.is_master, "the failover")
        self.assertLessEqual(set(delivered), set(replica.ids()))
        master.start()
        master.say("REPLICAOF", "127.0.0.1", replica.port)  # the sentinel would do it, after a while
        self.settled(len(ids))
        self.assertEqual(set(replica.ids()), set(ids))
        self.stop(relay)
        self.assertNotIn(SECRET, self.read("relay.log"))


@needed
class Whole(Case):
    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        self.broker(start=False)
        command = "%s %s %%s %s" % (sys.executable, redis_server.__file__, self.server.folder)
        subprocess.run((command % "start").split(), check=True)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-redis.so"),
                               re.sub("plugin = .*", "", self.server.section())
                               + "[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (command % "ids", command % "kill", command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.skipped, run.reached()), (0, [], [], 4), run.text())

    def test_wrong_options_are_told_with_their_lines(self):
        for options, said in (("stream =", "stream: "), ("key_file = /x", "key_file: it needs an url with rediss://"),
                              ("fsync = all", "fsync: "), ("maxlen_exact = yes", "maxlen_exact: "),
                              ("stream = a\nallow_streams = b", "stream: "), ("publish_timeout = 1h", "publish_timeout"),
                              ("replicas = 1\nwait_timeout = 10s", "wait_timeout: "), ("payload_field =", "payload_field: "),
                              ("id_field = topic", "topic_field: id_field has that name, too"),
                              ("sentinel_password = x", "sentinel: it is not set")):
            self.config("[publisher out]\nplugin = redis\nurl = redis://h\n%s\n" % options)
            self.assertIn(said, self.outboxd("check", code=2).stderr)
        for url, said in (("redis://relay:%s@h:99999" % SECRET, "port"), ("redis://relay:%s@h/x" % SECRET, "number of a database"),
                          ("unix://relay:%s@h/x" % SECRET, "has a host"), ("unix://relay:%s@" % SECRET, "no path"),
                          ("redis://:%s@h" % SECRET, "no user")):
            self.config("[publisher out]\nplugin = redis\nurl = %s\n" % url)
            done = self.outboxd("check", code=2)
            self.assertIn(said, done.stderr)
            self.assertNotIn(SECRET, done.stderr)


if __name__ == "__main__":
    outbox_test.main()
