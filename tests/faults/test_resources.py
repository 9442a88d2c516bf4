# SPDX-License-Identifier: Apache-2.0
"""Descriptors, processes and disks run out under a relay: it says what and where, charges nobody, loses nothing, makes
no storm of duplicates, and goes on by itself when there is room again."""

import collections
import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import time

import combination
import fire
import injection
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module

TROUBLE = 30 if FULL else 2 if SHORT else 3  # seconds that it lasts

# One process for each message; the line says when.
PROGRAM = r"""#!/bin/sh
cat >/dev/null
echo "$(date +%%s.%%N) $OUTBOX_ID" >>"%s"
"""


class MessageReceiver(fire.StreamReceiver):
    """As the other, but by a process for each message."""

    def __init__(self, test):
        super().__init__(test)
        test.write("program.sh", PROGRAM % test.path("arrived"), 0o755)

    def config(self, name="out", more=""):
        return combination.Exec.config(self, name, more)


class Scarce(fire.Fire):
    RATE = 30

    def meets(self, **orders):
        self.injection = injection.Injection(self, **orders)

    def start_relay(self, number):
        return self.start("run", log="relay-%d.log" % number, env=self.injection.env)

    def trouble(self, *says, meanwhile=lambda: None, bound=None):
        """It begins under load, is told in the log, and passes."""
        self.begin(fire.FOR_LONG)
        fault = self.fault("trouble", bound)
        self.injection.on()
        began = time.monotonic()
        meanwhile()
        for text in says:
            self.until(lambda: text in self.logs(), text)
        time.sleep(max(0, began + TROUBLE - time.monotonic()))
        self.assertEqual([relay.poll() for relay in self.relays], [None] * self.RELAYS, self.logs()[-2000:])
        lines = self.logs().count("\n")
        self.injection.off()
        self.over(fault)
        self.stop_writing()
        verdict = self.finish()
        failures = self.injection.failures()
        print("# figures: %s: %d calls failed, %d lines in the log, %d duplicates" % (
            self.id().replace("__main__.", ""), failures, lines, verdict.duplicates), flush=True)
        self.assertGreater(failures, 0)
        # Neither tried without a pause nor told each time.
        self.assertLess(lines, 100 + 10 * TROUBLE)
        return verdict


@combination.combinations([("sqlite", "exec")] if SHORT else [("sqlite", "exec"), ("postgres_leases", "exec")])
class Programs(Scarce):
    """A process, and pipes, for each message."""

    def make_publisher(self):
        return MessageReceiver(self)

    def test_no_descriptors(self):
        self.meets(fds="EMFILE")
        self.trouble("Too many open files", bound=0)

    def test_no_descriptors_in_the_whole_system(self):
        self.meets(fds="ENFILE")
        self.trouble("Too many open files in system", bound=0)

    def test_no_processes(self):
        self.meets(spawn="EAGAIN")
        self.trouble("Resource temporarily unavailable", bound=0)


@combination.combinations([("sqlite", "exec")])
class Coprocess(Scarce):
    def test_no_processes_for_one_that_was_killed(self):
        """It is killed with what it was sent: that may arrive twice."""
        self.meets(spawn="EAGAIN")
        self.trouble("Resource temporarily unavailable", meanwhile=self.kill_coprocesses)

    def kill_coprocesses(self):
        for relay in self.relays:
            subprocess.run(["pkill", "-KILL", "-P", str(relay.pid)], check=False)


@combination.combinations([("postgres", "amqp")] if SHORT else [("postgres", "amqp"), ("postgres_leases", "amqp")])
class Connections(Scarce):
    def test_no_descriptors_for_new_ones(self):
        self.meets(fds="EMFILE")
        self.trouble("Too many open files", meanwhile=self.cut)

    def cut(self):
        """To the broker and to the database."""
        fire.own.ctl("close_all_connections", "test")
        self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                   " AND pid <> pg_backend_pid()")


@combination.combinations([("sqlite", "exec"), ("postgres", "amqp")])
class Limit(fire.Fire):
    """The limit of the process itself, from its start: no injection."""
    RELAYS = 1

    def make_publisher(self):
        return fire.Consumer(self) if self.publisher_name == "amqp" else MessageReceiver(self)

    def start_limited(self, limit):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return self.start("run", log="relay-0.log",
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard)))

    def test_whatever_the_limit_is(self):
        """Below what it needs it waits or ends, and says why; when it is raised all goes on."""
        self.configure()
        ended = waited = 0
        for limit in range(4, 40, 12 if SHORT else 6):
            ids = self.insert(count=5)
            relay = self.start_limited(limit)
            self.until(lambda: relay.poll() is not None or self.done(ids)
                       or "level=warning" in self.read("relay-0.log"),
                       "the end, the work, or a word with limit %d" % limit)
            if relay.poll() is None and not self.done(ids):
                self.assertRegex(self.read("relay-0.log"), "Too many open files|descriptors")
            waited += relay.poll() is None and not self.done(ids)
            if relay.poll() is None:
                soft, hard = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
                resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (hard if hard > soft else soft, hard))
            else:
                self.assertIn(relay.returncode, (1, 2, 127), self.read("relay-0.log"))
                self.assertNotEqual(self.read("relay-0.log"), "")
                ended += 1
                relay = self.start("run", log="relay-0.log")
            self.until(lambda: self.done(ids), "the work with limit %d" % limit)
            self.stop(relay)
            os.unlink(self.path("relay-0.log"))
        self.publisher.settle_down()
        print("# figures: %s: %d ended, %d waited" % (self.id().replace("__main__.", ""), ended, waited), flush=True)
        self.assertGreater(ended + waited, 0)
        arrived = collections.Counter(i for _, i in self.publisher.arrivals())
        self.assertEqual(len(arrived), self.number("SELECT count(*) FROM outbox_messages"))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)

    def done(self, ids):
        return self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed' AND id IN (%s)"
                           % ", ".join("'%s'" % i for i in ids)) == len(ids)


@combination.combinations([("sqlite", "exec")])
class Disk(Scarce):
    RATE = 60

    def disk(self, io, *says):
        self.meets(io=io + ":" + self.store.path + "*")
        verdict = self.trouble(*says)
        self.assertIn(self.store.path, self.logs())
        self.is_sound(verdict.arrived)

    def is_sound(self, n):
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok", )])
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), n)
        most = max(collections.Counter(i for _, i in self.publisher.arrivals()).values())
        self.assertLessEqual(most, 2)

    def test_a_full_disk(self):
        self.disk("write,truncate:ENOSPC", "full", "make room on its disk")

    def test_a_disk_that_cannot_be_written(self):
        self.disk("write:EIO", "disk I/O error")

    def test_a_disk_that_does_not_confirm(self):
        self.disk("sync:EIO", "disk I/O error")

    def test_a_file_system_that_became_read_only(self):
        self.disk("open,write,sync,truncate:EROFS", self.store.path)

    def tearDown(self):
        if os.path.ismount(self.path("small")):
            subprocess.run(["umount", "-l", self.path("small")], check=True)
        super().tearDown()

    def fill(self):
        """The disk of the database, a small one of its own, to the last block; False where that cannot be had."""
        folder = self.path("small")
        os.mkdir(folder)
        if not shutil.which("mount"):
            return False
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", folder], capture_output=True,
                              check=False)
        if done.returncode != 0:
            return False
        shutil.copy(self.store.path, folder)
        self.store.path = os.path.join(folder, "shop.db")
        with open(os.path.join(folder, "filler"), "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 4096)
        return True

    def test_a_disk_that_is_full_from_the_start(self):
        """A real one, where this program may make one."""
        self.configure()
        ids = self.insert("x" * 200, count=300)
        real = self.fill()
        self.meets(io="open,write,truncate:ENOSPC:%s*" % self.store.path)
        self.injection.switch = self.path("injecting" if not real else "never")
        self.injection.on()
        self.configure(init=False)
        relay = self.start_relay(0)
        self.until(lambda: self.store.path in self.read("relay-0.log"), "the relay to say so")
        time.sleep(1)
        self.assertIsNone(relay.poll())
        self.assertEqual(self.publisher.arrivals(), [])
        if real:
            os.unlink(os.path.join(os.path.dirname(self.store.path), "filler"))
        self.injection.off()
        self.until_counted(300, "processed")
        self.stop(relay)
        self.assertEqual(sorted(i for _, i in self.publisher.arrivals()), sorted(ids))
        print("# figures: %s: a %s disk" % (self.id().replace("__main__.", ""), "real" if real else "pretended"))
        self.is_sound(300)

    def test_a_file_and_folder_that_may_not_be_written(self):
        """From the start; as root without the capability that makes it matter."""
        self.configure()
        ids = self.insert(count=20)
        place = self.path("mine")
        os.mkdir(place)
        sqlite3.connect(self.store.path).close()
        for name in os.listdir(self.dir):
            if name.startswith("shop.db"):
                os.rename(self.path(name), os.path.join(place, name))
        self.store.path = os.path.join(place, "shop.db")
        self.configure(init=False)
        os.chmod(self.store.path, 0o444)
        os.chmod(place, 0o555)
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        with open(self.path("relay-0.log"), "ab") as log:
            relay = subprocess.Popen([*drop, outbox_test.PROGRAM, "run", "-c", self.path("outboxd.ini")], stderr=log,
                                     stdin=subprocess.DEVNULL, stdout=log)
        self.processes.append(relay)
        try:
            self.until(lambda: self.store.path in self.read("relay-0.log"), "the relay to say so")
            time.sleep(1)
            self.assertIsNone(relay.poll())
            self.assertIn("write", self.read("relay-0.log"))
        finally:
            os.chmod(place, 0o755)
            os.chmod(self.store.path, 0o644)
        self.until_counted(20, "processed")
        self.stop(relay)
        self.assertEqual(sorted(i for _, i in self.publisher.arrivals()), sorted(ids))
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok", )])


if __name__ == "__main__":
    outbox_test.main()
