# SPDX-License-Identifier: Apache-2.0
"""A route whose plugin decides: it names a publisher, passes, or is wrong."""

import os
import shutil

import outbox_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")


class Rule(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        folder = self.path("plugins")
        os.mkdir(folder, 0o755)
        for source in (os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), os.path.join(outbox_test.PLUGIN_DIR, "pub-exec.so"),
                       os.path.join(FIXTURES, "rule-options.so")):
            os.chmod(shutil.copy(source, folder), 0o755)
        self.db = self.path("shop.db")
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n"
                   "[publisher out]\nplugin = exec\ncommand = /bin/true\n"
                   "[publisher mail]\nplugin = exec\ncommand = /bin/false\nmax_retries = 1\n"
                   "[route r]\nplugin = options\nmode = pubsub\nkey = ?*\n[router]\nfallback = out\n" % (folder, self.db), 0o600)
        self.outboxd("init")

    def route(self, topic, code=0):
        done = self.outboxd("route", "--topic", topic, "--key", "k", code=code)
        return done.stdout + done.stderr

    def test_what_it_says_is_told(self):
        self.assertIn("publisher mail, by route r", self.route("named"))
        self.assertIn("its rule decided", self.route("named"))
        self.assertIn("it says \\x1B so", self.route("explained"))
        self.assertIn("its rule passed\npublisher out, by the fallback", self.route("pass"))

    def test_what_is_wrong_with_it_is_told(self):
        self.assertIn("the rule has its reasons", self.route("fail", 1))
        self.assertIn("rule-options failed without a reason", self.route("silent", 1))
        self.assertIn("named the publisher `no\\x1Bbody`, which is not configured", self.route("nobody", 1))
        self.assertIn("named 2 publishers; several publishers for one message are not supported yet", self.route("two", 1))

    def test_messages_go_where_it_says_and_its_failures_are_held(self):
        for topic in ("named", "pass", "fail", "silent", "nobody", "two"):
            self.outboxd("send", "--topic", topic, "--key", "k")
        self.outboxd("send", "--topic", "named")  # the route's own condition does not hold
        self.assertIn("published 2, failed 1, not due yet 4 (of these unrouted 4)", self.outboxd("run", "--once", code=1).stdout)
        rows = dict(self.query("SELECT topic, status || ' ' || retries || ' ' || last_error FROM outbox_messages WHERE key = 'k'"))
        self.assertEqual(rows["named"], "failed 1 exit 1")  # that was mail
        self.assertEqual(rows["pass"], "processed 0 ")
        self.assertEqual(rows["fail"], "pending 0 unrouted: the rule has its reasons")
        self.assertTrue(rows["two"].startswith("pending 0 unrouted: route r: rule-options named 2 publishers"), rows)


if __name__ == "__main__":
    outbox_test.main()
