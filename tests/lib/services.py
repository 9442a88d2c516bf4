# SPDX-License-Identifier: Apache-2.0
"""Servers of a test's own, which it may stop and kill; see scripts/services.sh."""

import os
import re
import shutil
import subprocess
import tempfile

import outbox_test

SCRIPT = os.path.join(outbox_test.SRCDIR, "scripts", "services.sh")


class Services:
    def __init__(self, *names):
        self.dir = tempfile.mkdtemp(prefix="outbox-services-", dir="/var/tmp")
        self.env = {}
        try:
            self.start(*names)
        except Exception:
            self.close()
            raise

    def _run(self, *args):
        done = subprocess.run([SCRIPT, *args], env=dict(os.environ, OUTBOX_SERVICES_DIR=self.dir), capture_output=True,
                              text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError("services.sh %s: %s%s" % (" ".join(args), done.stdout, done.stderr))
        return done.stdout

    def start(self, *names):
        self._run("start", *names)
        self.env = dict(re.findall(r"^export (\w+)='?(.*?)'?$", self._run("env"), re.M))

    def stop(self, *names):
        self._run("stop", *names)

    def kill(self, *names):
        self._run("kill", *names)

    def ctl(self, *args):
        """rabbitmqctl."""
        return self._run("ctl", *args)

    def close(self):
        self._run("stop")
        shutil.rmtree(self.dir, ignore_errors=True)


def available():
    """Are the servers installed at all?"""
    return os.path.exists("/usr/lib/rabbitmq/bin/rabbitmq-server") and os.path.isdir("/usr/lib/postgresql")
