# SPDX-License-Identifier: Apache-2.0
"""A relay that a test reloads: what it says, and what it has."""

import os
import shutil
import time

import outbox_test
import relay_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")


def threads(process):
    return len(os.listdir("/proc/%d/task" % process.pid))


class Reload(relay_test.Relay):
    def setUp(self):
        super().setUp()
        self.env = dict(os.environ, OUTBOX_FIXTURE_BLOCK=self.path("block"))

    def begin(self, *args, **kwargs):
        self.shop(*args, **kwargs)
        self.relay = self.start("run", env=self.env)
        self.until(lambda: "started" in self.log(), "the relay to start")

    def log(self):
        return self.read("relay.log")

    def reload(self, code=0):
        done = self.outboxd("reload", code=code)
        return done.stdout + done.stderr

    def state(self):
        """Of the relay that works."""
        lives = [r for r in self.outboxd_json("status")[0]["relays"] if r["life"] == "live"]
        return lives[0]["state"] if len(lives) == 1 else {}

    def at_rest(self):
        """How many threads and descriptors the relay has when it has nothing to do: always the same ones."""
        def sample():
            return threads(self.relay), len(os.listdir("/proc/%d/fd" % self.relay.pid))
        return self.until(lambda: (lambda a, _, b: a == b and a)(sample(), time.sleep(0.5), sample()), "it to rest")

    def until_published(self, ids):
        for i in ids:
            self.until_status(i, "processed")

    def files(self, names):
        """A folder of plugins that a test may change."""
        self.folder = self.path("plugins")
        os.mkdir(self.folder, 0o755)
        for name in names:
            self.install(name)

    def install(self, name):
        source = os.path.join(outbox_test.PLUGIN_DIR, name)
        if not os.path.exists(source):
            source = os.path.join(FIXTURES, name)
        os.chmod(shutil.copy(source, self.folder), 0o755)

    def fixture(self, name, relay=""):
        """A configuration with a fixture as its publisher."""
        self.files(["store-sqlite.so", "pub-exec.so", "pub-%s.so" % name])
        self.use(name, relay)
        self.outboxd("init")

    def use(self, name, relay="", more=""):
        self.db = self.path("shop.db")
        options = "command = %s" % self.program if name == "exec" else ""
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n%s\n[store]\nplugin = sqlite\npath = %s\n"
                   "[publisher out]\nplugin = %s\n%s\n%s[router]\nfallback = out\n"
                   % (self.folder, relay, self.db, name, options, more), 0o600)
