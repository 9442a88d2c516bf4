# SPDX-License-Identifier: Apache-2.0
"""A steady stream of messages for long: memory, descriptors, threads and children stay as they are."""

import os
import signal
import time

import combination
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
SECONDS = 1800 if FULL else 24 if SHORT else 60
PAIRS = [("postgres", "amqp")] if SHORT or FULL else [("postgres", "amqp"), ("sqlite", "exec")]
# Buffers grow to the largest batch that came; after a quarter of the time they have seen it.
WARM_UP = 0.25
GROWTH_KIB = 512


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
        return len(f.read().split())


def sample(pid):
    with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
        fields = dict(line.split(":", 1) for line in f)
    return {"rss": int(fields["VmRSS"].split()[0]), "threads": int(fields["Threads"]),
            "descriptors": len(os.listdir("/proc/%d/fd" % pid)), "children": children(pid)}


@combination.combinations(PAIRS)
class Steady(fire.Fire):
    BATCH, WORKERS, RELAYS = 500, 2, 1
    WRITERS, RATE, PER_TRANSACTION = 2, 56, 20  # 2,000 messages a second, and a tenth more that is rolled back
    relay_settings = "retention = 10s"

    def fill_its_buffers(self):
        """With a full batch for each worker, which else might not come before a late pause of the machine."""
        self.freeze(self.relays[0])
        time.sleep(1)
        self.relays[0].send_signal(signal.SIGCONT)

    def test_nothing_grows(self):
        self.begin(SECONDS, messages=self.PER_TRANSACTION)
        self.fill_its_buffers()
        end, samples = time.monotonic() + SECONDS - 3, []
        while time.monotonic() < end:
            samples.append(sample(self.relays[0].pid))
            time.sleep(max(0.5, SECONDS / 200))
        verdict = self.finish()
        warm = samples[int(len(samples) * WARM_UP):]
        half = len(warm) // 2
        early = {name: max(s[name] for s in warm[:half]) for name in warm[0]}
        late = {name: max(s[name] for s in warm[half:]) for name in warm[0]}
        print("# figures: %s: %d messages in %d s; first and second half: %s" % (
            self.id().replace("__main__.", ""), verdict.arrived, SECONDS,
            ", ".join("%s %d, %d" % (name, early[name], late[name]) for name in early)), flush=True)
        self.assertEqual(verdict.duplicates, 0)
        self.assertLessEqual(late["rss"], early["rss"] + GROWTH_KIB)
        for name in ("threads", "descriptors", "children"):
            self.assertLessEqual(late[name], early[name])


if __name__ == "__main__":
    outbox_test.main()
