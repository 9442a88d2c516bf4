# SPDX-License-Identifier: Apache-2.0
"""Memory, disks, descriptors and processes that run out, on order: the library of inject.c in front of a program."""

import os
import re

import outbox_test

LIBRARY = os.path.join(outbox_test.BUILDDIR, "tests", "faults", ".libs", "inject.so")


def orders(**variables):
    """The environment of a program that is to meet this, say orders(alloc=12); see inject.c."""
    return dict(os.environ, LD_PRELOAD=LIBRARY,
                **{"OUTBOX_INJECT_" + name.upper(): str(value) for name, value in variables.items()})


class Injection:
    """For a running program: its orders hold while it is switched on."""

    def __init__(self, test, **variables):
        self.switch, self.report = test.path("injecting"), test.path("injected")
        self.env = orders(**dict(variables, **{"while": self.switch, "report": self.report}))

    def on(self):
        with open(self.switch, "w", encoding="ascii"):
            pass

    def off(self):
        os.unlink(self.switch)

    def failures(self):
        """How many calls failed so far."""
        return len(re.findall("(?m) in ", read(self.report)))


def read(path):
    try:
        with open(path, encoding="ascii") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def count_allocations(report):
    """From the report of a program that has ended."""
    return int(re.search(r"(?m)^allocations (\d+) ", read(report)).group(1))
