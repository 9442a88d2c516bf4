# SPDX-License-Identifier: Apache-2.0
"""From one broker to another under load, by one edit and a reload: examples/swap, for every broker that is there."""

import os
import re
import subprocess
import sys
import unittest

import brokers
import outbox_test

SCRIPT = os.path.join(outbox_test.SRCDIR, "examples", "swap", "swap.py")


@unittest.skipUnless(brokers.is_built("amqp"), "pub-amqp is not built")
class Swap(unittest.TestCase):
    def swap(self, old, new):
        """Each message is at exactly one of the two, once, and both had some."""
        for name in (old, new):
            if brokers.module(name).MISSING:
                self.skipTest(brokers.module(name).MISSING)
        done = subprocess.run([sys.executable, SCRIPT, old, new], env=dict(os.environ, SWAP_SECONDS="0.5"), capture_output=True,
                              text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        table = {what: float(n) for what, n in re.findall(r"^(\S.*?) {2,}([\d.]+)(?: s)?$", done.stdout, re.M)}
        at_old, at_new = table["at the old broker, " + old], table["at the new one, " + new]
        self.assertGreater(min(at_old, at_new), 20)
        self.assertEqual(at_old + at_new, table["committed"])
        self.assertEqual([table[what] for what in ("at both", "at neither", "never committed", "more than once")], [0] * 4)
        self.assertIn("publisher out: changed", done.stdout)
        print("# figures: %s to %s: %d and %d of %d messages, the reload took %.2f s"
              % (old, new, at_old, at_new, table["committed"], table["the reload took"]), flush=True)


def add(old, new):
    setattr(Swap, "test_from_%s_to_%s_each_message_is_at_one_of_the_two" % (old, new), lambda self: self.swap(old, new))


for _name in brokers.THERE:
    add("amqp", _name)
    add(_name, "amqp")

if __name__ == "__main__":
    outbox_test.main()
