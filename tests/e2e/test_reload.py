# SPDX-License-Identifier: Apache-2.0
"""A reload: what changes, what goes on, and what a file with mistakes does."""

import json
import os
import re
import shutil
import signal
import subprocess
import unittest
import uuid

import combination
import outbox_test
import services
from reload_test import Reload, threads


class Changes(Reload):
    def test_what_has_changed_is_told_and_holds(self):
        self.begin("workers = 2")
        self.until_published([self.insert("x")])
        said = self.reload()
        self.assertIn("nothing has changed", said)
        self.assertIn("process %d" % self.relay.pid, said)
        program = self.write("other.sh", "#!/bin/sh\ncat >>%s\n" % self.path("other"), 0o755)
        other = "[publisher other]\nplugin = exec\ncommand = %s\n" % program
        self.shop("workers = 4\nlease = 45s", more=other + "[route o]\ntopic = other.*\npublisher = other\n", init=False)
        said = self.reload()
        for line in ("[relay] workers: 2 -> 4", "[relay] lease: 30s -> 45s", "publisher other: added", "route o: added",
                     "publisher out: unchanged, keeps its connections", "store: unchanged"):
            self.assertIn(line, said)
        self.until_published([self.insert("to the other one", topic="other.x"), self.insert("y")])
        self.assertEqual(self.read("other"), "to the other one")
        self.assertEqual([a[2] for a in self.arrived()], ["x", "y"])
        self.until(lambda: len(self.state().get("workers", [])) == 4, "four workers in the relay's row")
        # And back, with another program and a route that changed its place.
        self.shop("workers = 1", options="max_retries = 3", init=False,
                  more=other.replace("command =", "concurrency = 2\ncommand =") +
                  "[route o]\ntopic = o.*\npublisher = other\n")
        said = self.reload()
        for line in ("[relay] workers: 4 -> 1", "publisher other: changed (concurrency), reopened", "route o: changed",
                     "publisher out: changed (max_retries), keeps its connections"):
            self.assertIn(line, said)
        self.shop("workers = 1", options="max_retries = 3", init=False)
        said = self.reload()
        for line in ("publisher other: removed", "route o: removed"):
            self.assertIn(line, said)
        self.until_published([self.insert("z", topic="other.x")])
        self.assertEqual([a[2] for a in self.arrived()], ["x", "y", "z"])
        self.stop(self.relay)
        self.assertIn("stopped published=4 ", self.log().replace("msg=", ""))

    def test_sighup_does_the_same_and_a_second_one_is_not_lost(self):
        self.begin("workers = 1\nbatch_size = 1")
        slow = self.insert("sleep 1.5")
        self.until(self.arrived, "the slow one")
        before = threads(self.relay) + 1  # the one that opens
        self.shop("workers = 2", init=False)
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: threads(self.relay) > before, "the first reload to have read the file")
        self.shop("workers = 3", init=False)
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: self.log().count("msg=reloaded") == 2, "both")
        self.assertRegex(self.log(), r"(?s)workers: 1 -> 2.*workers: 2 -> 3")
        self.until_status(slow, "processed")
        self.assertEqual(len(self.arrived()), 1)
        self.stop(self.relay)

    def test_a_slow_batch_is_finished_and_delays_only_its_worker(self):
        self.begin("workers = 2\nbatch_size = 1")
        slow = self.insert("sleep 3")
        self.until(self.arrived, "the slow one")
        self.shop("workers = 2\nbatch_size = 2", init=False)
        asked = subprocess.Popen([outbox_test.PROGRAM, "reload", "-c", self.path("outboxd.ini")], stdout=subprocess.PIPE)
        self.processes.append(asked)
        self.until(lambda: "msg=reloading" in self.log(), "the reload")
        self.until_published([self.insert("quick")])
        self.assertEqual(self.row(slow)["status"], "processing")
        self.assertIsNone(asked.poll())
        self.assertEqual(asked.wait(outbox_test.PATIENCE), 0)
        self.assertEqual(self.row(slow)["status"], "processed")
        self.assertEqual(sorted(a[2] for a in self.arrived()), ["quick", "sleep 3"])
        self.stop(self.relay)

    def test_wait_ends_before_the_reload_does(self):
        self.begin("workers = 1\nbatch_size = 1")
        self.insert("sleep 2")
        self.until(self.arrived, "the slow one")
        self.assertIn("is not done yet", self.outboxd("reload", "--wait", "200ms", code=1).stderr)
        self.until(lambda: "msg=\"reloaded" in self.log(), "it to be done all the same")
        self.stop(self.relay)

    def test_the_store_changes(self):
        self.begin()
        self.until_published([self.insert("here")])
        first, second = self.db, self.path("second.db")
        text = self.read("outboxd.ini").replace(first, second)
        self.write("outboxd.ini", text, 0o600)
        self.outboxd("init")
        self.assertIn("store: changed (path)", self.reload())
        self.db = second
        self.until_published([self.insert("there")])
        self.assertEqual([a[2] for a in self.arrived()], ["here", "there"])
        self.db = first
        self.assertEqual(self.query("SELECT clean FROM outbox_messages_relays"), [(1,)])
        self.stop(self.relay)

    def test_the_log_changes(self):
        self.begin()
        self.shop(more="[log]\nlevel = warning\nformat = json\n", init=False)
        self.assertIn("[log] level: info -> warning", self.reload())
        self.assertNotIn("msg=reloaded", self.log())
        self.shop(more="[log]\nlevel = debug\nformat = json\n", init=False)
        self.reload()
        self.assertEqual(json.loads(self.log().splitlines()[-1])["msg"], "reloaded")
        self.stop(self.relay)

    def test_a_plugin_that_was_never_loaded_comes_and_one_that_was_replaced_is_told(self):
        self.files(["store-sqlite.so", "pub-exec.so"])
        self.use("exec")
        self.outboxd("init")
        self.relay = self.start("run")
        self.until_published([self.insert("x")])
        self.install("pub-sound.so")
        self.use("exec", more="[publisher new]\nplugin = sound\n[route n]\ntopic = new\npublisher = new\n")
        self.assertIn("publisher new: added", self.reload())
        self.until_published([self.insert("nowhere", topic="new")])
        self.assertEqual(len(self.arrived()), 1)
        self.assertNotIn("was replaced", self.log())
        os.unlink(os.path.join(self.folder, "pub-sound.so"))
        self.install("pub-sound.so")
        self.assertIn("pub-sound.so was replaced since it was loaded; restart to use the new one", self.reload())
        self.stop(self.relay)

    def test_all_relays_of_a_file_are_reached(self):
        self.begin()
        second = self.start("run", log="second.log")
        self.until(lambda: "started" in self.read("second.log"), "the second relay")
        self.assertEqual(set(re.findall(r"process (\d+)", self.reload())), {str(self.relay.pid), str(second.pid)})
        self.stop(second)
        self.stop(self.relay)
        self.assertIn("no relay of this user runs with", self.reload(code=1))

    def test_once_ignores_it(self):
        self.shop("workers = 1\nbatch_size = 1")
        self.insert("sleep 1")
        relay = self.start("run", "--once")
        self.until(self.arrived, "the message")
        relay.send_signal(signal.SIGHUP)
        self.assertEqual(relay.wait(outbox_test.PATIENCE), 0)
        self.assertIn("SIGHUP is ignored", self.log())

    def test_a_link_that_is_switched_stays_the_same_file(self):
        """As Kubernetes does it with a mounted map."""
        self.begin()
        self.stop(self.relay)
        for name, workers in (("one", 1), ("two", 2)):
            os.mkdir(self.path(name))
            self.shop("workers = %d" % workers, init=False)
            shutil.copy(self.path("outboxd.ini"), self.path(name, "outboxd.ini"))
        os.unlink(self.path("outboxd.ini"))
        os.symlink("one/outboxd.ini", self.path("outboxd.ini"))
        relay = self.start("run", log="again.log")
        self.until(lambda: "started" in self.read("again.log"), "the relay")
        os.symlink("two/outboxd.ini", self.path("link"))
        os.rename(self.path("link"), self.path("outboxd.ini"))
        self.assertIn("[relay] workers: 1 -> 2", self.reload())
        self.stop(relay)


class Mistakes(Reload):
    def test_a_bad_file_changes_nothing_and_is_told(self):
        self.begin("workers = 2\npoll_interval = 50ms")
        self.until_published([self.insert("x")])
        before = self.at_rest()
        self.shop("workers = many", more="[route x]\npublisher = nobody\n", init=False)
        said = self.reload(code=2)
        self.assertRegex(said, r"outboxd\.ini:3: workers: `many` is not a whole number")
        self.assertRegex(said, r"outboxd\.ini:\d+: .*nobody")
        self.assertIn("the relay goes on as it was", said)
        self.assertRegex(self.log(), r"level=error .*outboxd\.ini:3: workers")
        self.until_published([self.insert("x")])
        self.assertEqual(self.at_rest(), before)
        self.until(lambda: "outboxd.ini:3: workers" in self.outboxd("status").stdout, "status to tell")
        self.assertIn("the last reload failed at 2", self.outboxd("status").stdout)
        self.assertFalse(self.state()["reload"]["ok"])
        os.unlink(self.path("outboxd.ini"))
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: self.log().count("reload failed") == 2, "a file that is not there to be told")
        self.shop("workers = 3", init=False)
        self.assertIn("workers: 2 -> 3", self.reload())
        self.until(lambda: self.state().get("reload", {}).get("ok"), "status to tell")
        self.assertNotIn("the last reload failed", self.outboxd("status").stdout)
        self.stop(self.relay)

    @unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-amqp.so")), "pub-amqp is not built")
    def test_what_does_not_open_changes_nothing(self):
        """Each option may be right by itself."""
        self.begin("poll_interval = 50ms")
        self.until_published([self.insert("x")])
        before = self.at_rest()
        self.shop("workers = 4", more="[publisher two]\nplugin = amqp\nurl = amqp://127.0.0.1\nmode = pubsub\n", init=False)
        number = self.read("outboxd.ini").split("\n").index("mode = pubsub") + 1
        self.assertRegex(self.reload(code=2), r"outboxd\.ini:%d: publisher two: exchange: .*needs its name" % number)
        self.until_published([self.insert("x")])
        self.assertEqual(self.at_rest(), before)
        self.stop(self.relay)


class GoesOn(Reload):
    def test_a_paused_publisher_stays_paused(self):
        self.begin("retry_max = 1h")
        self.insert("exit 69")
        self.until(lambda: self.state().get("publishers", {}).get("out", {}).get("state") == "paused", "the pause")
        before = self.state()["publishers"]["out"]
        self.shop("retry_max = 1h", more="[route r]\ntopic = x\npublisher = out\n", init=False)
        self.assertIn("route r: added", self.reload())
        self.assertEqual(self.log().count("publisher is unavailable"), 1)
        self.until(lambda: self.state().get("reload"), "the new row")
        after = self.state()["publishers"]["out"]
        self.assertEqual(after["since"], before["since"])
        self.assertIn(after["state"], ("paused", "probing"))
        # Another program may be the repair: it begins anew.
        self.shop("retry_max = 1h", options="timeout = 5s", init=False)
        self.reload()
        self.until(lambda: self.log().count("publisher is unavailable") == 2, "the new one to be tried at once")
        self.stop(self.relay)

    def test_a_stream_keeps_its_programs(self):
        program = self.write("echo.py", "#!/usr/bin/env python3\nimport json, os, sys\n"
                             "open(%r, 'a').write('%%d\\n' %% os.getpid())\nsys.stdin.readline()\nfor line in sys.stdin:\n"
                             "    print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n"
                             % self.path("pids"), 0o755)
        options = "[publisher out]\nplugin = exec\nmode = stream\ncommand = %s\n" % program
        self.config(options, "workers = 1")
        self.outboxd("init")
        self.relay = self.start("run")
        self.until_published([self.insert("x")])
        for workers in (2, 3, 1):
            self.config(options + "batch_size = %d\n" % workers, "workers = %d" % workers)
            self.assertIn("publisher out: changed (batch_size), keeps its connections", self.reload())
            self.until_published([self.insert("x")])
        first = self.read("pids").splitlines()[0]
        os.kill(int(first), 0)  # it still runs
        self.config(options.replace("mode = stream", "mode = stream\nwindow = 7"), "workers = 1")
        self.assertIn("publisher out: changed (window, batch_size), reopened", self.reload())
        self.assertRaises(ProcessLookupError, os.kill, int(first), 0)
        self.until_published([self.insert("x")])
        self.stop(self.relay)

    @unittest.skipUnless(combination.pika and os.environ.get("OUTBOX_TEST_AMQP"), "no RabbitMQ")
    def test_an_amqp_publisher_keeps_its_connections(self):
        name = "reload-" + uuid.uuid4().hex[:12]
        broker = combination.pika.BlockingConnection(combination.pika.URLParameters(os.environ["OUTBOX_TEST_AMQP"]))
        self.addCleanup(broker.close)
        channel = broker.channel()
        channel.queue_declare(name, exclusive=True)
        channel.queue_bind(name, "amq.topic", name)
        amqp = ("[publisher out]\nplugin = amqp\nurl = %s\nexchange = amq.topic\nrouting_key = %s\n"
                % (os.environ["OUTBOX_TEST_AMQP"], name))

        def connections():
            """Of the relay, by the broker's own word: its ports."""
            inodes = set()
            for fd in os.listdir("/proc/%d/fd" % self.relay.pid):
                try:
                    inodes.add(os.readlink("/proc/%d/fd/%s" % (self.relay.pid, fd)))
                except FileNotFoundError:
                    pass
            with open("/proc/%d/net/tcp" % self.relay.pid, encoding="ascii") as f:
                rows = [line.split() for line in f.readlines()[1:]]
            ports = {int(row[1].split(":")[1], 16) for row in rows if "socket:[%s]" % row[9] in inodes}
            told = subprocess.run([services.SCRIPT, "ctl", "-q", "list_connections", "peer_port"], capture_output=True,
                                  text=True, check=True).stdout
            return ports & {int(port) for port in told.split() if port.isdigit()}

        self.config(amqp, "workers = 2")
        self.outboxd("init")
        self.relay = self.start("run")
        self.until_published(self.insert("x", count=100))
        self.until(lambda: (self.insert("x"), len(connections()) == 2)[1], "both workers to have connected")
        before = connections()
        for n in range(3):
            self.config(amqp + "batch_size = %d\n" % (n + 10), "workers = 2\nretention = %dh" % (n + 1))
            self.assertIn("publisher out: changed (batch_size), keeps its connections", self.reload())
            self.until_published(self.insert("x", count=20))
        self.assertEqual(connections(), before)
        self.config(amqp + "heartbeat = 33s\n", "workers = 2")
        self.assertIn("reopened", self.reload())
        self.until_published(self.insert("x", count=20))
        self.assertFalse(connections() & before)
        self.stop(self.relay)


class ManyTimes(Reload):
    def test_reloads_under_load_lose_and_repeat_nothing_and_leave_nothing(self):
        self.begin("workers = 2\nbatch_size = 5\npoll_interval = 50ms")
        ids = []

        def round_trip(n):
            ids.extend(self.insert("x", count=5))
            self.shop("workers = 2\nbatch_size = %d\npoll_interval = 50ms" % (5 + n % 2), init=False)
            self.assertIn("unchanged, keeps its connections", self.reload().replace(
                "changed (batch_size), keeps", "unchanged, keeps"))
        for n in range(5):
            round_trip(n)
        before = self.at_rest()
        for n in range(15):
            round_trip(n)
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") == [(len(ids),)],
                   "all of them")
        after = self.at_rest()
        self.assertEqual(after[0], before[0])
        # SQLite keeps a few descriptors of closed connections for the next ones.
        self.assertLess(after[1], before[1] + 10)
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted(ids))
        self.stop(self.relay)
        self.assertIn("published=%d " % len(ids), self.log())


if __name__ == "__main__":
    outbox_test.main()
