# SPDX-License-Identifier: Apache-2.0
"""[relay] check_plugins = yes: a relay tells which rule a plugin breaks, and goes on."""

import os
import re
import shutil
import signal
import unittest.mock

import outbox_test

WRONG = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures", "wrong")

# What is told, and where; the messages arrive all the same.
TOLD = {
    "changes-messages": "publish",
    "directory": "publish",
    "environment": "publish",
    "late-return": "publish",
    "locale": "publish",
    "reason-memory": "publish",
    "signal-handler": "publish",
    "signal-mask": "publish",
    "slow-close": "close",
    "slow-open": "open",
    "umask": "publish",
    "writes-beyond": "publish",
}

with open(os.path.join(outbox_test.BUILDDIR, "config.log"), encoding="utf-8") as config_log:
    RACES_ARE_SEEN = "-fsanitize=thread" in config_log.read()


class CheckPlugins(outbox_test.Scratch):
    def shop(self, publisher, check="yes", route="", store="sqlite"):
        folder = self.path("plugins")
        if not os.path.exists(folder):
            shutil.copytree(WRONG, folder)
            shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), folder)
            for name in (".", *os.listdir(folder)):
                os.chmod(os.path.join(folder, name), 0o755)
        self.db = self.path("shop.db")
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\ncheck_plugins = %s\n[store]\nplugin = %s\npath = %s\n"
                   "[publisher out]\nplugin = %s\npath = %s\nbatch_timeout = 1s\n%s[router]\nfallback = out\n"
                   % (folder, check, store, self.db, publisher, self.path("ids"), route), 0o600)
        self.outboxd("init")
        for _ in range(3):
            self.outboxd("send", "--topic", "t")

    def rules(self, log):
        """(plugin, rule, operation) of each line that tells of one."""
        return re.findall(r'level=error msg="([a-z-]+) broke the rule ([a-z-]+) of plugins in ([a-z]+) of (?:store|publisher out|route r): ',
                          log)

    def published(self):
        """What `run --once` said when all had arrived."""
        done = self.outboxd("run", "--once")
        self.assertIn("published 3, failed 0", done.stdout)
        self.assertEqual(len(self.read("ids").split()), 3)
        return done.stderr

    def test_a_sound_plugin_is_not_told(self):
        self.shop("sound")
        self.assertNotIn("level=error", self.published())

    def test_it_is_asked_for(self):
        self.shop("umask", check="no")
        self.assertNotIn("level=error", self.published())

    def test_a_result_that_means_nothing_pauses_the_publisher(self):
        self.shop("outcome-number")
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the pause")
        self.stop(relay)
        log = self.read("relay.log")
        self.assertEqual(self.rules(log), [("pub-outcome-number", "outcome-number", "publish")])
        self.assertIn("pub-outcome-number broke the rule outcome-number", log)
        self.assertEqual(self.query("SELECT DISTINCT status, retries FROM outbox_messages"), [("pending", 0)])

    def test_what_happens_again_is_not_told_each_time(self):
        self.shop("signal-mask")
        relay = self.start("run")
        for n in range(1, 6):
            self.outboxd("send", "--topic", "t")
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") == [(3 + n,)],  # pylint: disable=cell-var-from-loop
                       "a message")
        self.stop(relay)
        self.assertEqual(len(self.rules(self.read("relay.log"))), 1)

    def test_a_rule_is_checked_too(self):
        self.shop("sound", route="[route r]\nplugin = decision-changes\n")
        self.assertEqual(self.rules(self.published()), [("rule-decision-changes", "decision-changes", "route")])

    def test_a_store_is_checked_too(self):
        self.shop("sound", store="sound")
        self.assertNotIn("level=error", self.published())
        self.shop("sound", store="batch-changed")
        told = self.rules(self.outboxd("run", "--once").stderr)
        self.assertEqual(set(told), {("store-batch-changed", "batch-changed", "release")})

    def test_a_batch_above_its_limit_is_not_taken(self):
        self.shop("sound", store="batch-limit")
        self.write("outboxd.ini", self.read("outboxd.ini").replace("check_plugins", "workers = 1\nbatch_size = 2\ncheck_plugins"), 0o600)
        relay = self.start("run")
        self.until(lambda: self.rules(self.read("relay.log")), "the rule")
        self.stop(relay)
        self.assertEqual(set(self.rules(self.read("relay.log"))), {("store-batch-limit", "batch-limit", "claim")})
        self.assertEqual(self.query("SELECT DISTINCT status, retries FROM outbox_messages"), [("pending", 0)])

    @outbox_test.unsanitized
    def test_a_crash_names_the_rule(self):
        for rule in ("reads-past", "borrowed-memory"):
            self.shop(rule)
            said = self.outboxd("run", "--once", code=-signal.SIGSEGV).stderr
            self.assertRegex(said, r"crashed in publisher out \(pub-%s\.so\) (publish|close), by SIGSEGV, "
                             r"which broke the rule %s of plugins" % (rule, rule))

    def test_check_tells_it(self):
        self.shop("slow-open")
        self.assertEqual(self.rules(self.outboxd("check", "--connect").stderr), [("pub-slow-open", "slow-open", "open")])


def add(rule, operation):
    if RACES_ARE_SEEN and rule in ("environment", "locale"):
        return  # what the plugin does is a race, which the sanitizer reports

    def test(self):
        self.shop(rule)
        # Of gcc 13 and later the address sanitizer puts a function's variables elsewhere than on the stack.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_stack_use_after_return=0"
        with unittest.mock.patch.dict(os.environ, ASAN_OPTIONS=options):
            told = self.rules(self.published())
        self.assertIn(("pub-" + rule, rule, operation), told)
        # what is the process's is seen by whatever other call runs at that time
        self.assertEqual({rule for _, rule, _ in told}, {rule})
    setattr(CheckPlugins, "test_%s_is_told" % rule.replace("-", "_"), test)


for the_rule, where in TOLD.items():
    add(the_rule, where)


if __name__ == "__main__":
    outbox_test.main()
