# SPDX-License-Identifier: Apache-2.0
"""Plugins that block where they must not, in open, close and publish: they keep nobody from stopping and reloading."""

import os
import signal
import time

import outbox_test
from reload_test import Reload, threads


class Blocks(Reload):
    def test_a_signal_ends_a_relay_whose_plugin_blocks_in_open(self):
        self.fixture("blockopen", "workers = 2")
        self.write("block", "")
        relay = self.start("run", env=self.env)
        self.until(lambda: self.takes_signals(relay), "the relay to begin")
        time.sleep(0.3)
        began = time.monotonic()
        self.stop(relay)
        self.assertLess(time.monotonic() - began, 2)
        self.assertIn("msg=stopping", self.log())

    def test_an_open_that_blocks_is_named_when_its_time_is_over(self):
        self.fixture("blockopen")
        self.write("block", "")
        relay = self.start("run", env=self.env)
        self.assertEqual(relay.wait(outbox_test.PATIENCE), 1)
        self.assertRegex(self.log(), r"outboxd: opening publisher out takes longer than 15 s")

    def test_a_signal_ends_a_relay_whose_reload_blocks(self):
        self.fixture("blockopen", "workers = 2")
        self.use("exec", "workers = 2")
        self.relay = self.start("run", env=self.env)
        self.until_published([self.insert("x")])
        self.write("block", "")
        self.use("blockopen", "workers = 2")
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: "msg=reloading" in self.log(), "the reload")
        began = time.monotonic()
        self.stop(self.relay)
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(self.query("SELECT clean FROM outbox_messages_relays"), [(1,)])

    def test_a_reload_whose_open_blocks_changes_nothing_and_leaves_signals_alone(self):
        self.fixture("blockopen", "workers = 2")
        self.use("exec", "workers = 2")
        self.relay = self.start("run", env=self.env)
        self.until_published([self.insert("x")])
        self.write("block", "")
        self.use("blockopen", "workers = 2")
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: "msg=reloading" in self.log(), "the reload")
        self.until_published([self.insert("y")])
        self.assertIn("opening publisher out takes longer than 15 s", self.outboxd("reload", code=1).stderr +
                      self.log())
        self.assertIn("an earlier reload is still opening publisher out; restart outboxd", self.reload(code=1))
        os.unlink(self.path("block"))
        self.until(lambda: "publisher out: changed (plugin), reopened" in self.outboxd("reload", code=None).stdout, "it to work again")
        self.stop(self.relay)

    def test_a_close_that_hangs_has_the_time_of_the_shutdown(self):
        self.fixture("blockclose", "workers = 2\nshutdown_timeout = 1s")
        self.write("block", "")
        relay = self.start("run", env=self.env)
        self.until_published([self.insert("x")])
        began = time.monotonic()
        self.stop(relay, code=1)
        self.assertLess(time.monotonic() - began, 3)
        self.assertRegex(self.log(), r"shutdown_timeout is over.*worker 1 closes out since \d s")

    def test_a_worker_that_does_not_come_back_is_left_behind(self):
        self.fixture("blockpublish", "workers = 2\nbatch_timeout = 200ms\nshutdown_timeout = 1s\nbatch_size = 1")
        self.write("block", "")
        self.relay = self.start("run", env=self.env)
        self.insert("x")
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages WHERE status = 'processing'"), "it to hang")
        self.use("exec", "workers = 2\nshutdown_timeout = 1s")
        said = self.reload()
        self.assertIn("publisher out: changed (plugin, batch_size, batch_timeout), reopened", said)
        self.assertRegex(said, r"left behind, because it does not come back: worker \d publishes to out since \d s")
        self.until_published([self.insert("y", topic="next")])
        self.assertEqual([a[2] for a in self.arrived()], ["y"])
        n = threads(self.relay)
        os.unlink(self.path("block"))
        self.until(lambda: "what was left behind at a reload has ended" in self.log(), "it to be gone")
        self.assertLess(threads(self.relay), n)
        self.stop(self.relay)

    def test_sigterm_in_a_reload_stops_both(self):
        self.begin("workers = 2\nbatch_size = 1\nshutdown_timeout = 10s")
        self.insert("sleep 2", count=2)
        self.until(lambda: len(self.arrived()) == 2, "both workers to be busy")
        self.relay.send_signal(signal.SIGHUP)
        self.until(lambda: "msg=reloading" in self.log(), "the reload")
        time.sleep(0.2)
        self.stop(self.relay)
        self.assertEqual(self.query("SELECT status FROM outbox_messages"), [("processed",)] * 2)
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages_relays WHERE NOT clean"), [(0,)])


if __name__ == "__main__":
    outbox_test.main()
