# SPDX-License-Identifier: Apache-2.0
"""A message that kills its relay is found: it ends as failed, and nobody else is charged for it."""

import os

import combination
import fire
import outbox_test

# What a crash in a client library would do: the relay is gone, in the middle of a batch.
PROGRAM = r"""#!/bin/sh
payload=$(cat)
case $payload in poison*)
    echo "$OUTBOX_ID" >>"%(dir)s/deaths"
    # Another of them may have killed it already: whoever is our parent then stays alive.
    [ "$(cat /proc/$PPID/comm)" != outboxd ] || kill -9 $PPID
    exit ;;
esac
echo "$OUTBOX_ID $OUTBOX_TOPIC $payload" >>"%(dir)s/arrived"
"""


@combination.combinations([("sqlite", "exec"), ("postgres", "exec"), ("postgres_leases", "exec")])
class Poison(fire.Watched):
    BATCH = 50

    def run_until_done(self, most):
        """Starts relays one after the other, as a supervisor would; how many died."""
        deaths = 0
        while True:
            relay = self.start("run", log="relay-%d.log" % deaths)
            self.until(lambda: relay.poll() is not None or not self.query(
                "SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"), "a death or the end", 120)
            if relay.poll() is None:
                self.stop(relay)
                return deaths
            self.assertEqual(relay.returncode, -9)
            deaths += 1
            self.assertEqual(self.number("SELECT count(*) FROM outbox_messages_relays"), deaths)  # each left its row
            self.assertLess(deaths, most)

    def poisoned(self, poisons):
        self.write("program.sh", PROGRAM % {"dir": self.dir}, 0o755)
        self.shop("batch_size = %d\nworkers = 2\nlease = 1s\nbatch_timeout = 11s\nmax_retries = 3\n"
                  "retry_min = 10ms\nretry_max = 20ms\n" % self.BATCH)
        innocents = self.insert("x", count=70)
        bad = [self.insert("poison") for _ in range(poisons)]
        innocents += self.insert("y", count=70)
        # One death without a record, halving down to one, which charges nobody, and three more tries alone: for each.
        deaths = self.run_until_done(1 + poisons * 12)
        print("# figures: %s: %d deaths for %d poison messages among %d" % (
            self.id().replace("__main__.", ""), deaths, poisons, len(innocents)), flush=True)
        for i in bad:
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), ("failed", 3))
            self.assertIn("the relay died while this message alone was being published", row["last_error"])
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), len(innocents))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages WHERE status = 'processed'"), 0)
        self.assertEqual({a[0] for a in self.arrived()}, set(innocents))

    def test_one_is_found(self):
        self.poisoned(1)

    def test_two_are_found(self):
        self.poisoned(2)

    def test_a_relay_that_follows_a_dead_one_says_so_and_goes_back_to_normal(self):
        self.shop("batch_size = 20\nlease = 1s")
        first = self.start_and_wait(log="first.log")
        first.kill()
        first.wait()
        self.insert(count=100)
        second = self.start("run", log="second.log")
        self.until_counted(100, "processed")
        self.assertIn("ended uncleanly", self.read("second.log"))
        self.assertIn("on probation", self.outboxd("status").stdout)
        self.stop(second)
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages_relays WHERE clean") > 0, "its farewell")
        third = self.start("run", log="third.log")
        self.until(lambda: "started" in self.read("third.log"), "the third")
        i = self.insert()
        self.until_status(i, "processed")
        self.stop(third)
        self.assertNotIn("ended uncleanly", self.read("third.log"))


if __name__ == "__main__":
    outbox_test.main()
