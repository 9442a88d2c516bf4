# SPDX-License-Identifier: Apache-2.0
"""What a relay tells its service manager; the test is that manager: it reads the socket of sd_notify."""

import os
import select
import shutil
import signal
import socket
import time
import unittest
import uuid

import outbox_test
import relay_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")
WATCHDOG_S = 2

with open(os.path.join(outbox_test.BUILDDIR, "config.h"), encoding="ascii") as config_h:
    TELLS = "#define HAVE_SYSTEMD 1" in config_h.read()


@unittest.skipUnless(TELLS, "built without libsystemd")
class Service(relay_test.Relay):
    def setUp(self):
        super().setUp()
        self.listen(self.path("notify"))

    def listen(self, address):
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(address)
        self.manager.setblocking(False)
        self.environment = dict(os.environ, NOTIFY_SOCKET=address.replace("\0", "@"))
        self.told = []  # lists of NAME=VALUE, one a datagram
        self.seen = 0

    def serve(self, watchdog=False, **kwargs):
        """A relay with this manager; with a watchdog that wants a sign of life in WATCHDOG_S seconds."""
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(WATCHDOG_S * 1000000)
        self.relay = self.start("run", env=self.environment, **kwargs)
        return self.relay

    def listen_on(self):
        while True:
            try:
                self.told.append(self.manager.recv(65536).decode().splitlines())
            except BlockingIOError:
                return self.told

    def all_told(self, name):
        return [line.split("=", 1)[1] for lines in self.listen_on() for line in lines if line.startswith(name + "=")]

    def until_told(self, line):
        """A datagram with this line that came after the one that this found before; its lines."""
        def find():
            for i, lines in enumerate(self.listen_on()):
                if i >= self.seen and line in lines:
                    self.seen = i + 1
                    return lines
            return None
        return self.until(find, line)

    def status(self):
        texts = self.all_told("STATUS")
        return texts[-1] if texts else ""

    def until_status_says(self, *words):
        self.until(lambda: all(word in self.status() for word in words), "a status with %s" % (words, ))

    def signs_of_life(self):
        return len(self.all_told("WATCHDOG"))

    def until_signs_of_life(self, n=3):
        before = self.signs_of_life()
        self.until(lambda: self.signs_of_life() >= before + n, "%d signs of life" % n)


class Notices(Service):
    def test_a_relay_is_ready_works_and_stops(self):
        self.shop("shutdown_timeout = 77s")
        self.serve()
        self.until_told("READY=1")
        self.until_status_says("published 0, failed 0")
        self.insert("x", count=3)
        self.insert("exit 65")
        self.until_status_says("published 3, failed 1")
        self.stop(self.relay)
        # It asks for the time that it may need, and a little more.
        self.assertIn("EXTEND_TIMEOUT_USEC=82000000", self.until_told("STOPPING=1"))
        self.assertEqual(self.all_told("READY"), ["1"])
        self.assertEqual(self.all_told("WATCHDOG"), [], "nobody asked for signs of life")

    def test_an_abstract_address_will_do(self):
        self.listen("\0outbox-test-%s" % uuid.uuid4())
        self.shop()
        self.serve()
        self.until_told("READY=1")
        self.stop(self.relay)
        self.until_told("STOPPING=1")

    def test_without_a_manager_a_relay_works(self):
        del self.environment["NOTIFY_SOCKET"]
        self.shop()
        self.serve(watchdog=True)
        self.until_status(self.insert("x"), "processed")
        self.stop(self.relay)
        self.assertEqual(self.listen_on(), [])

    def test_a_manager_that_is_gone_disturbs_nobody(self):
        self.manager.close()
        self.shop()
        self.serve(watchdog=True)
        self.until_status(self.insert("x"), "processed")
        self.stop(self.relay)

    def test_a_manager_that_does_not_read_hinders_nobody(self):
        self.shop()
        self.environment["WATCHDOG_USEC"] = "8000"  # a sign of life every two milliseconds
        self.serve()
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(probe.close)
        probe.connect(self.path("notify"))
        self.until(lambda: not select.select([], [probe], [], 0)[1], "the manager's queue to be full")
        self.until_status(self.insert("x"), "processed")
        self.outboxd("reload", "--wait", "50s")
        self.stop(self.relay)

    def test_a_reload_is_told_and_why_it_failed(self):
        self.shop()
        self.serve()
        self.until_told("READY=1")
        self.shop("workers = 3", init=False)
        self.outboxd("reload")
        self.assertRegex(self.until_told("RELOADING=1")[1], "^MONOTONIC_USEC=[0-9]+$")
        self.until_told("READY=1")
        self.shop("workers = many", init=False)
        self.outboxd("reload", code=2)
        self.until_told("RELOADING=1")
        self.until_told("READY=1")
        self.until_status_says("published 0, failed 0; the last reload failed: %s:3: " % self.path("outboxd.ini"), "many")
        self.shop("workers = 2", init=False)
        self.relay.send_signal(signal.SIGHUP)
        self.until_told("RELOADING=1")
        self.until_told("READY=1")
        self.until(lambda: "failed: " not in self.status(), "the failure to be forgotten")
        self.stop(self.relay)

    def test_a_file_that_is_wrong_at_the_start_is_never_ready(self):
        self.shop("workers = many", init=False)
        self.assertEqual(self.serve().wait(outbox_test.PATIENCE), 2)
        self.assertEqual(self.all_told("READY"), [])

    def test_who_runs_once_is_no_service(self):
        self.shop()
        self.insert("x")
        self.environment["WATCHDOG_USEC"] = "2000000"
        process = self.start("run", "--once", env=self.environment)
        self.assertEqual(process.wait(outbox_test.PATIENCE), 0)
        self.assertEqual(self.listen_on(), [])

    def test_no_program_learns_where_the_manager_listens(self):
        program = self.write("env.sh", "#!/bin/sh\nenv >%s.new && mv %s.new %s\n" % ((self.path("env"), ) * 3), 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % program)
        self.outboxd("init")
        self.serve(watchdog=True)
        self.until_status(self.insert("x"), "processed")
        self.assertIn("OUTBOX_TOPIC=t", self.read("env"))
        for name in ("NOTIFY_SOCKET", "WATCHDOG"):
            self.assertNotIn(name, self.read("env"))
        self.stop(self.relay)


class Outages(Service):
    def test_a_relay_without_its_publisher_is_ready_and_alive_and_says_so(self):
        self.config("[publisher billing]\nplugin = exec\ncommand = /nonexistent/program\n",
                    router="[router]\nfallback = billing\n")
        self.outboxd("init")
        self.insert("x")
        self.serve(watchdog=True)
        self.until_told("READY=1")
        self.until_status_says("published 0, failed 0; publisher billing is unavailable: ", "/nonexistent/program", ", since 20")
        self.until_signs_of_life(12)
        self.stop(self.relay)
        self.assertNotIn("hangs", self.read("relay.log"))

    def test_a_relay_without_its_table_is_ready_and_alive_and_says_so(self):
        self.shop(init=False)
        self.serve(watchdog=True)
        self.until_told("READY=1")
        self.until_status_says("published 0, failed 0; the store is unavailable: ", ", since 20")
        self.until_signs_of_life(12)
        self.outboxd("init")
        self.until_status(self.insert("x"), "processed")
        self.until(lambda: self.status() == "published 1, failed 0", "the store to be back")
        self.stop(self.relay)

    def test_what_a_program_says_is_one_line(self):
        program = self.write("says.sh", "#!/bin/sh\nprintf 'no\\nWATCHDOG=trigger\\nSTOPPING=1 \\377\\033[1m' >&2\nexit 69\n", 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % program)
        self.outboxd("init")
        self.insert("the payload")
        self.serve()
        self.until_status_says("publisher out is unavailable: ", "STOPPING=1")
        self.assertNotIn("payload", self.status())
        self.assertEqual(self.all_told("STOPPING") + self.all_told("WATCHDOG"), [])
        self.stop(self.relay)


class Watchdog(Service):
    """Signs of life: a thread may be late for half of WATCHDOG_S."""

    def unruly(self, options, relay="", router="[router]\nfallback = out\n"):
        folder = self.path("plugins")
        os.makedirs(folder, 0o755, exist_ok=True)
        for source in (os.path.join(FIXTURES, "pub-unruly.so"), os.path.join(FIXTURES, "rule-unruly.so"),
                       os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so")):
            shutil.copy(source, folder)
            os.chmod(os.path.join(folder, os.path.basename(source)), 0o755)
        self.db = self.path("shop.db")
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\nbatch_timeout = 1s\n%s\n[store]\nplugin = sqlite\npath = %s\n"
                   "[publisher out]\nplugin = unruly\n%s\n%s" % (folder, relay, self.db, options, router), 0o600)
        self.outboxd("init")
        self.serve(watchdog=True)
        self.until_told("READY=1")
        self.until_signs_of_life()

    def hangs(self, whose):
        """The signs of life end, so that a manager would act, and the log says why; then they come back."""
        def silent():
            before = self.signs_of_life()
            end = time.monotonic() + WATCHDOG_S * 1.2
            while time.monotonic() < end and self.signs_of_life() == before:
                time.sleep(0.05)
            return self.signs_of_life() == before
        self.until(silent, "signs of life to end")
        self.assertRegex(self.read("relay.log"), 'msg="a thread hangs; .*thread="worker [0-9]+ is in `%s, for [0-9]+ s longer' % whose)

    def test_an_idle_relay_is_alive(self):
        self.shop("poll_interval = 1h")
        self.serve(watchdog=True)
        self.until_signs_of_life(2 * 4 * WATCHDOG_S)
        self.stop(self.relay)
        self.assertNotIn("hangs", self.read("relay.log"))

    def test_a_publisher_that_hangs_ends_the_signs_of_life(self):
        self.unruly("publish = hang 9000")
        self.insert("x")
        self.hangs("publish` of publisher out, pub-unruly")
        self.until_signs_of_life()
        self.assertIn("has come back", self.read("relay.log"))
        self.relay.kill()

    def test_one_worker_of_several_is_enough(self):
        self.unruly("publish = hang 60000\nbatch_size = 1\nwhile = %s" % self.write("while", ""), "workers = 3")
        self.insert("x")
        self.until(lambda: "msg=published" in self.read("relay.log"), "the call that hangs")
        os.unlink(self.path("while"))
        for i in self.insert("y", count=20):
            self.until_status(i, "processed")
        self.hangs("publish` of publisher out, pub-unruly")
        self.relay.kill()

    def test_keepalive_that_hangs_in_an_idle_relay_does_too(self):
        self.unruly("keepalive = hang 60000\nwhile = %s" % self.path("while"))
        self.write("while", "")
        self.hangs("keepalive` of publisher out, pub-unruly")
        self.relay.kill()

    def test_a_rule_that_hangs_does_too(self):
        self.unruly("", router="[route odd]\nplugin = unruly\nroute = hang 60000\n[router]\nfallback = out\n")
        self.insert("x")
        self.hangs("route` of route odd, rule-unruly")
        self.relay.kill()

    def test_a_call_that_takes_its_time_does_not(self):
        self.unruly("publish = hang 4000\nbatch_timeout = 6s")
        self.insert("x")
        self.until_signs_of_life(5 * 4 // WATCHDOG_S)
        self.assertNotIn("hangs", self.read("relay.log"))
        self.stop(self.relay)

    def test_a_relay_that_was_frozen_goes_on(self):
        self.unruly("")
        self.freeze(self.relay)
        self.listen_on()
        time.sleep(3 * WATCHDOG_S)
        self.relay.send_signal(signal.SIGCONT)
        self.until_signs_of_life()
        self.assertNotIn("hangs", self.read("relay.log"))
        self.stop(self.relay)

    def test_a_reload_leaves_a_worker_behind_and_the_relay_is_alive_again(self):
        self.unruly("publish = hang 60000\nwhile = %s" % self.write("while", ""), "shutdown_timeout = 1s")
        self.insert("x")
        self.hangs("publish` of publisher out, pub-unruly")
        os.unlink(self.path("while"))
        self.outboxd("reload")
        self.until_told("RELOADING=1")
        self.until_told("READY=1")
        self.until_signs_of_life(8)
        self.relay.kill()

    def test_it_is_alive_while_it_stops(self):
        self.unruly("publish = hang 60000", "shutdown_timeout = 5s")
        self.insert("x")
        self.until(lambda: "msg=published" in self.read("relay.log"), "the call that hangs")
        self.relay.send_signal(signal.SIGTERM)
        self.until_told("STOPPING=1")
        self.until_signs_of_life(6)
        self.assertEqual(self.relay.wait(outbox_test.PATIENCE), 1)


if __name__ == "__main__":
    outbox_test.main()
