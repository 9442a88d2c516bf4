# SPDX-License-Identifier: Apache-2.0
"""What was committed, what arrived, what went wrong meanwhile - and whether the three agree.

The model is a set of committed ids. A transaction whose end its writer never learned may have been committed or not:
either is right. An arrival of an id that came before is a duplicate and belongs to the last fault before it that
came after the first arrival; one without such a fault is a defect, and so is a fault with more of them than its bound.
A fault lasts from its time to its end, and a little longer: a relay needs time to notice.

No minute passes in which messages are due, nothing is done, and no relay says why: silences() finds such.
"""

import bisect
import collections

# So long after its end a fault may still have consequences, seconds.
AFTERMATH = 30.0


# The first word of why nothing is done comes within so many seconds, in short runs; then at least one a minute.
SOON, MINUTE = 20.0, 60.0
BEFORE = 5.0  # what ends before another relay's last message may have been told already


def silences(messages, told, soon=SOON):
    """`messages`: (when it became due, when it was done) of each; `told`: when warnings were logged. Returns the
    stretches (from, to) in which something was due, nothing was done, and nothing told for too long."""
    found, told = [], sorted(told)
    messages = sorted(messages, key=lambda m: m[1])
    oldest, oldest_due = float("inf"), [0.0] * len(messages)
    for n in range(len(messages) - 1, -1, -1):
        oldest = oldest_due[n] = min(oldest, messages[n][0])
    before = float("-inf")
    for n, (_, done) in enumerate(messages):
        since = max(before, oldest_due[n])
        before = done
        if done - since < soon:
            continue
        words = told[bisect.bisect(told, since - BEFORE):bisect.bisect(told, done)]
        if not words or words[0] - since > soon or max(b - a for a, b in zip(words, words[1:] + [done])) > MINUTE + SOON:
            found.append((since, done))
    return found


class Fault:
    def __init__(self, name, at, bound):
        self.name, self.at, self.end, self.bound = name, at, at, bound
        self.duplicates = 0


class History:
    def __init__(self):
        self.told = {}  # id: committed, rolled-back or unknown
        self.order = {}  # id: (key, number)
        self.due = {}  # id: when it was committed
        self.arrivals = []  # (time, id)
        self.faults = []

    # ---- what happened

    def wrote(self, what, i, key="", number=0, at=None):
        self.told[i] = what
        if at is not None:
            self.due[i] = at
        if key:
            self.order[i] = (key, number)

    def arrived(self, at, i):
        self.arrivals.append((at, i))

    def fault(self, name, at, bound):
        """`bound`: how many duplicates it may make. The caller sets its `end`."""
        self.faults.append(Fault(name, at, bound))
        return self.faults[-1]

    # ---- what to make of it

    def _explain(self, first, again):
        """The fault that a duplicate belongs to, or None."""
        candidates = [f for f in self.faults if f.at <= again and first <= f.end + AFTERMATH]
        free = [f for f in candidates if f.duplicates < f.bound]
        return (free or candidates or [None])[-1]

    def silences(self, told):
        """Of the messages whose time is known."""
        first = {}
        for at, i in sorted(self.arrivals):
            first.setdefault(i, at)
        return silences([(self.due[i], at) for i, at in first.items() if i in self.due], told)

    def judge(self):
        return Verdict(self)


class Verdict:
    def __init__(self, history):
        history.arrivals.sort()
        history.faults.sort(key=lambda f: f.at)
        first = {}
        self.unexplained = []
        self.duplicates = 0
        for at, i in history.arrivals:
            if i not in first:
                first[i] = at
                continue
            self.duplicates += 1
            fault = history._explain(first[i], at)
            if fault is None:
                self.unexplained.append(i)
            else:
                fault.duplicates += 1
        committed = {i for i, what in history.told.items() if what == "committed"}
        possible = {i for i, what in history.told.items() if what != "rolled-back"}
        self.committed, self.unknown = len(committed), len(possible) - len(committed)
        self.rolled_back = len(history.told) - len(possible)
        self.arrived = len(first)
        self.lost = sorted(committed - set(first))
        self.ghosts = sorted(set(first) - possible)
        self.beyond_bound = [f for f in history.faults if f.duplicates > f.bound]
        self.most = max((f.duplicates for f in history.faults), default=0)
        self.faults = len(history.faults)
        self.reordered = self._reordered(history, first)

    @staticmethod
    def _reordered(history, first):
        """First arrivals that came after a later one of their key."""
        seen = collections.defaultdict(list)
        found = []
        for i in sorted(first, key=first.get):
            if i not in history.order:
                continue
            key, number = history.order[i]
            if bisect.bisect(seen[key], number) < len(seen[key]):
                found.append(i)
            bisect.insort(seen[key], number)
        return found

    def __str__(self):
        return ("committed %d, unknown %d, rolled back %d, arrived %d, lost %d, ghosts %d, faults %d, duplicates %d,"
                " most for one fault %d, without a fault %d"
                % (self.committed, self.unknown, self.rolled_back, self.arrived, len(self.lost), len(self.ghosts),
                   self.faults, self.duplicates, self.most, len(self.unexplained)))

    def require(self, test, ordered=False):
        """Fails the test with what is wrong."""
        test.assertEqual(self.lost, [], "lost: %s" % self)
        test.assertEqual(self.ghosts, [], "never committed, yet arrived: %s" % self)
        test.assertEqual(self.unexplained, [], "duplicates without a fault: %s" % self)
        test.assertEqual([(f.name, f.duplicates, f.bound) for f in self.beyond_bound], [], "beyond the bound: %s" % self)
        if ordered:
            test.assertEqual(self.reordered, [], "out of order: %s" % self)
