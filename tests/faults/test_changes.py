# SPDX-License-Identifier: Apache-2.0
"""What a relay was told changes while it runs, or was never right: passwords, files, limits, programs, names. It goes
on without a restart, charges nobody for it, and says what is wrong."""

import os
import re
import subprocess
import sys
import time
import unittest

import checker
import combination
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
STORES = [("sqlite", "exec")] if SHORT else [("sqlite", "exec"), ("postgres", "exec"), ("postgres_leases", "exec")]


class Watch(unittest.TestCase):
    """What every scenario is watched for."""
    FLOW = [(float(n), n + 1.0) for n in range(50)]
    LATE = (60.0, 200.0)  # due, done

    def test_silence_is_found(self):
        self.assertEqual(checker.silences(self.FLOW, []), [])
        self.assertEqual(checker.silences(self.FLOW + [self.LATE], []), [self.LATE])
        self.assertEqual(checker.silences(self.FLOW + [self.LATE], [62.0]), [self.LATE])

    def test_a_word_in_time_and_each_minute_is_none(self):
        self.assertEqual(checker.silences(self.FLOW + [self.LATE], [58.0, 120.0, 180.0]), [])

    def test_nobody_need_speak_while_something_is_done(self):
        self.assertEqual(checker.silences([(0.0, 10.0 * n) for n in range(1, 20)], []), [])


class Changes(fire.Watched):
    SETTINGS = "batch_size = 20\npoll_interval = 200ms\nretry_min = 10ms\nretry_max = 1s\n"

    def begin(self, settings="", **more):
        self.shop(self.SETTINGS + settings, **more)
        self.relay = self.start("run")

    def log(self):
        return self.read("relay.log")

    def says(self, pattern, patience=20):
        self.until(lambda: re.search(pattern, self.log(), re.I), "the log to say " + pattern, patience)

    def all_go_out(self, n, patience=outbox_test.PATIENCE):
        """Every message is processed, and none was charged."""
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") == n,
                   "all %d to be processed" % n, patience)
        self.assertEqual(self.number("SELECT coalesce(sum(retries), 0) FROM outbox_messages"), 0)

    def is_brief(self, most):
        """Whatever was wrong was not told without end."""
        self.assertLess(self.log().count("\n"), most)


@combination.combinations([("sqlite", "amqp")])
class BrokersPassword(Changes):
    def test_it_is_rotated(self):
        user = self.publisher.exchange
        fire.own.ctl("add_user", user, "first")
        self.addCleanup(fire.own.ctl, "delete_user", user)
        fire.own.ctl("set_permissions", user, ".*", ".*", ".*")
        self.publisher.url = self.publisher.url.replace("outbox:outbox@", user + "@")
        secret = self.write("password", "first\n", 0o600)
        self.begin(options="password_file = %s\nretry_max = 1s\n" % secret)
        self.insert(count=20)
        self.all_go_out(20)
        fire.own.ctl("change_password", user, "second")
        fire.own.ctl("close_all_user_connections", user, "rotated")
        self.insert(count=20)
        self.says("refused|ACCESS_REFUSED")
        self.write("password", "second\n", 0o600)
        self.all_go_out(40)
        # And the usual way, in which nobody notices: the file first, and the old one is valid until its end.
        self.write("password", "third\n", 0o600)
        fire.own.ctl("change_password", user, "third")
        fire.own.ctl("close_all_user_connections", user, "rotated")
        self.insert(count=20)
        self.all_go_out(60)
        self.stop(self.relay)
        for secret in ("first", "second", "third"):
            self.assertNotIn(secret, self.log())


@combination.combinations([("postgres", "exec")] if SHORT else [("postgres", "exec"), ("postgres_leases", "exec")])
class Role(Changes):
    """The relay's role is its own."""

    def setUp(self):
        super().setUp()
        self.shop(self.SETTINGS)
        self.role = "role_" + self.store.schema
        self.query("CREATE ROLE %s LOGIN PASSWORD 'first-password'" % self.role)
        self.addCleanup(self.drop_role)
        for what in ("ALL ON SCHEMA", "ALL ON ALL TABLES IN SCHEMA", "ALL ON ALL SEQUENCES IN SCHEMA"):
            self.query("GRANT %s %s TO %s" % (what, self.store.schema, self.role))

    def drop_role(self):
        self.end_sessions()
        self.query("DROP OWNED BY " + self.role)
        self.query("DROP ROLE " + self.role)

    def end_sessions(self):
        self.query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = ?", self.role)

    def begin_as_role(self, password, settings="", store=""):
        as_owner = self.store.config
        self.store.config = lambda more="": as_owner(store + "\n" + more).replace(
            "user=outbox password=outbox", "user=%s%s" % (self.role, password))
        self.begin(settings, init=False)

    def test_its_password_is_rotated(self):
        secret = self.write("password", "first-password\n", 0o600)
        self.begin_as_role("", store="password_file = %s" % secret)

        self.insert(count=20)
        self.all_go_out(20)
        self.query("ALTER ROLE %s PASSWORD 'second-password'" % self.role)
        self.end_sessions()
        self.insert(count=20)
        self.says("password authentication failed")
        self.write("password", "second-password\n", 0o600)
        self.all_go_out(40)
        self.stop(self.relay)
        self.assertNotIn("-password", self.log())

    def test_it_may_have_few_connections(self):
        """Fewer than the relay has workers: the others work, and it is told."""
        took = []
        for limit in (-1, 4):
            self.query("ALTER ROLE %s CONNECTION LIMIT %d" % (self.role, limit))
            self.begin_as_role(" password=first-password", "workers = 6\n")
            began = time.monotonic()
            self.insert(count=500)
            self.all_go_out(500 * (len(took) + 1))
            took.append(time.monotonic() - began)
            if limit < 0:
                self.stop(self.relay)
        self.assertLess(took[1], 3 * took[0] + 10)
        self.says("connection")
        self.stop(self.relay)
        self.is_brief(60)


@combination.combinations([("sqlite", "amqp")])
class Broker(Changes):
    def works_with_few(self):
        self.begin("workers = 6\n")
        began = time.monotonic()
        self.insert(count=1000)
        self.all_go_out(1000)
        self.assertLess(time.monotonic() - began, 40)
        self.says("connection.*(limit|allow)")
        self.stop(self.relay)
        self.is_brief(60)

    def test_its_user_may_have_few_connections(self):
        user = self.publisher.exchange
        fire.own.ctl("add_user", user, "secret")
        self.addCleanup(fire.own.ctl, "delete_user", user)
        fire.own.ctl("set_permissions", user, ".*", ".*", ".*")
        fire.own.ctl("set_user_limits", user, '{"max-connections": 2}')
        self.publisher.url = self.publisher.url.replace("outbox:outbox@", user + ":secret@")
        self.works_with_few()

    def test_a_full_queue_has_room_again(self):
        """By a change of its policy, not by a consumer."""
        name = self.publisher.exchange
        self.publisher.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        self.addCleanup(self.publisher.channel.queue_delete, name)
        fire.own.ctl("set_policy", name, "^%s$" % name, '{"max-length": 10, "overflow": "reject-publish"}', "--apply-to",
                     "queues")
        url = self.publisher.url
        self.publisher.config = lambda name_="out", more="": (
            "[publisher %s]\nplugin = amqp\nurl = %s\nmode = queue\nqueue = %s\n%s\n" % (name_, url, name, more))
        self.begin()
        self.insert(count=100)
        self.says("full|reject|unavailable|confirm")
        time.sleep(2)
        fire.own.ctl("clear_policy", name)
        self.all_go_out(100)
        self.stop(self.relay)


# Answers each line, and never flushes: what it says stays in its buffer until that is full.
DAWDLING = r"""
import json, sys
sys.stdin.readline()
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "status": "ok"}))
"""


@combination.combinations(STORES)
class Program(Changes):
    def test_it_does_not_flush(self):
        script = self.write("dawdling.py", DAWDLING)
        self.publisher.config = lambda name="out", more="": (
            "[publisher %s]\nplugin = exec\nmode = stream\ncommand = %s %s\ntimeout = 1s\n%s\n"
            % (name, sys.executable, script, more))
        self.begin("max_retries = 2\n")
        self.insert(count=10)
        self.says("flush")
        time.sleep(3 if SHORT else 10)
        self.assertEqual(self.query("SELECT status, retries FROM outbox_messages WHERE status = 'failed' OR retries > 0"),
                         [])
        self.stop(self.relay)
        self.is_brief(60)


@combination.combinations([("sqlite", "exec")])
class File(Changes):
    """The name of the database leads elsewhere from now on."""

    def goes_elsewhere(self, move):
        self.begin()
        first = self.insert(count=5)
        self.all_go_out(5)
        time.sleep(1)
        move()
        second = self.insert(count=5)
        self.all_go_out(5)
        self.stop(self.relay)
        self.assertEqual(set(self.arrived_ids()), set(first + second))
        self.assertRegex(self.log(), "level=warning.*(replaced|another file|other file|moved|switched)")

    def another(self, name):
        path, self.store.path = self.store.path, self.path(name)
        self.shop(name="other.ini")
        self.store.path = path
        return self.path(name)

    def test_its_folder_is_replaced(self):
        for folder in ("data", "new"):
            os.mkdir(self.path(folder))
        self.store.path = self.path("data", "shop.db")

        def replace():
            self.another("new/shop.db")
            os.rename(self.path("data"), self.path("old"))
            os.rename(self.path("new"), self.path("data"))
        self.goes_elsewhere(replace)

    def test_its_symbolic_link_is_switched(self):
        os.symlink(self.path("one.db"), self.store.path)

        def switch():
            os.symlink(self.another("two.db"), self.path("link"))
            os.rename(self.path("link"), self.store.path)
        self.goes_elsewhere(switch)


@combination.combinations([("postgres", "exec")])
class Waking(Changes):
    def test_it_can_never_work(self):
        """The way for notifications is wrong: polling goes on, and everyone is told."""
        self.begin(store="notify_conninfo = host=127.0.0.1 port=1 dbname=nowhere")
        self.says("level=warning.*(notif|wak|listen|news)")
        self.insert(count=20)
        self.all_go_out(20)
        self.until(lambda: re.search("poll", self.outboxd("status").stdout), "status to say that it polls", 20)
        checked = self.outboxd("check", "--connect", code=None)
        self.assertRegex(checked.stdout + checked.stderr, "(?i)notif|wak|listen|news")
        self.stop(self.relay)
        self.is_brief(30)


# Notes what arrives, and waits until its gate is open.
GATED = r"""#!/bin/sh
echo "$OUTBOX_ID $OUTBOX_TOPIC x" >>"%(dir)s/arrived"
while [ ! -e "%(dir)s/gate" ] && [ -d "%(dir)s" ]; do sleep 0.05; done
"""


@combination.combinations([("sqlite", "exec"), ("postgres", "exec"), ("postgres_leases", "exec")])
class Namespaces(Changes):
    """Two containers of one host, with one host name and one configuration, cannot see each other's processes."""

    def start_apart(self, log):
        with open(self.path(log), "ab") as f:
            process = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                                        outbox_test.PROGRAM, "run", "-c", self.path("outboxd.ini")],
                                       stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        self.processes.append(process)
        return process

    def test_a_relay_that_lives_is_not_taken_for_dead(self):
        if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("process namespaces cannot be made here")
        self.write("program.sh", GATED % {"dir": self.dir}, 0o755)
        self.shop("name = same\nworkers = 1\nbatch_size = 1\nlease = 90s\nmax_retries = 2\nbatch_timeout = 60s\n",
                  "timeout = 50s\n")
        i = self.insert()
        self.start_apart("one.log")
        self.until(self.arrived, "the message to be on its way")
        self.start_apart("two.log")
        self.until(lambda: "started" in self.read("two.log"), "the second relay")
        time.sleep(5)
        self.assertEqual(self.number("SELECT max(retries) FROM outbox_messages"), 0)
        self.write("gate", "")
        self.until_status(i, "processed")
        self.insert(count=5)
        self.all_go_out(6)
        self.assertEqual(len(self.arrived()), 6)
        for log in ("one.log", "two.log"):
            self.assertNotRegex(self.read(log), "uncleanly|did not end cleanly|relay died")


@combination.combinations([("sqlite", "exec")] if SHORT else [("sqlite", "exec"), ("postgres", "exec")])
class Sizes(Changes):
    """Rows that are too large in whatever column, among good ones."""
    BIG = 1000 if FULL else 200
    MOST = 300  # MiB that the relay may have

    def test_big_headers_topics_and_keys(self):
        self.shop("batch_size = 500\nworkers = 2\nmax_retries = 2\n")
        headers = '{"a": "%s"}' % ("x" * 400000)
        db = self.connect()
        self.store.execute(db, "BEGIN")
        for n in range(self.BIG):
            what = [("headers", headers), ("topic", "t" * 2000000), ("key", "k" * 2000000)][n % 3 if n < 30 else 0]
            columns = {"topic": "big", what[0]: what[1]}
            self.store.execute(db, "INSERT INTO outbox_messages (%s) VALUES (%s)" % (
                ", ".join(columns), ", ".join("?" * len(columns))), list(columns.values()))
            self.store.execute(db, "INSERT INTO outbox_messages (topic) VALUES ('t')")
        self.store.execute(db, "COMMIT")
        relay = self.start("run")
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") >= self.BIG
                   and not self.number("SELECT count(*) FROM outbox_messages WHERE status IN ('pending', 'processing')"),
                   "all of them to have ended", 300)
        with open("/proc/%d/status" % relay.pid, encoding="ascii", errors="replace") as f:
            peak = int(re.search(r"VmHWM:\s*(\d+)", f.read()).group(1)) // 1024
        self.stop(relay)
        self.figures("%d large rows among as many good ones, %d MiB at most" % (self.BIG, peak))
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE topic = 't' AND status = 'processed'"),
                         self.BIG)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'failed'"), self.BIG)
        self.assertLess(peak, self.MOST)


if __name__ == "__main__":
    outbox_test.main()
