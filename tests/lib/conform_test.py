# SPDX-License-Identifier: Apache-2.0
"""What tests of outbox-conform share: a run of it, and what it said."""

import os
import re
import subprocess
import unittest
import xml.etree.ElementTree

import outbox_test

PROGRAM = os.path.join(os.path.dirname(outbox_test.PROGRAM), "outbox-conform")
NEEDED = unittest.skipUnless(os.path.exists(PROGRAM), "outbox-conform is not built: Check is missing (Debian: check)")


class Run:
    """One run; `failed` and `skipped` are names of tests."""

    def __init__(self, folder, plugin, ini, *args, name="conform"):
        self.ini = os.path.join(folder, name + ".ini")
        self.junit = os.path.join(folder, name + ".xml")
        with open(self.ini, "w", encoding="utf-8") as f:
            f.write(ini)
        os.chmod(self.ini, 0o600)
        done = subprocess.run([PROGRAM, "-c", self.ini, "--junit", self.junit, *args, plugin], cwd=folder,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
        self.code = done.returncode
        self.out, self.err = done.stdout.decode(), done.stderr.decode()
        lines = self.out.splitlines()
        self.failed = [m[1] for m in (re.match(r"not ok \d+ - level \d: (\S+)$", line) for line in lines) if m]
        self.skipped = [m[1] for m in (re.match(r"ok \d+ - level \d: (\S+) # SKIP", line) for line in lines) if m]
        self.passed = [m[1] for m in (re.match(r"ok \d+ - level \d: (\S+)$", line) for line in lines) if m]

    def reached(self):
        """The level to which the plugin conforms."""
        found = re.search(r"^# \S+ conforms to level (\d)$", self.out, re.M)
        return int(found[1]) if found else 0

    def junit_failed(self):
        return [case.get("name") for case in xml.etree.ElementTree.parse(self.junit).iter("testcase")
                if case.find("failure") is not None]

    def text(self):
        """For a failed assertion."""
        return "".join("\n# " + line for line in self.out.splitlines() if not line.startswith("ok ")) + "\n" + self.err
