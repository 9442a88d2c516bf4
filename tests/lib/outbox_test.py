# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests share: a scratch folder with a configuration, the installed
outboxd, and a unittest main that speaks TAP."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ["OUTBOX_TEST_PROGRAM"]
PLUGIN_DIR = os.environ["OUTBOX_TEST_PLUGIN_DIR"]
SRCDIR = os.environ["OUTBOX_TEST_SRCDIR"]
BUILDDIR = os.environ["OUTBOX_TEST_BUILDDIR"]
MANDIR = os.environ.get("OUTBOX_TEST_MANDIR", "")
DOCDIR = os.environ.get("OUTBOX_TEST_DOCDIR", "")

# Generous: machines are slow under sanitizers; a test that hangs is what it is for.
PATIENCE = 60

with open(os.path.join(BUILDDIR, "config.h"), encoding="ascii") as config_h:
    SANITIZED = "#define EXIT_HANDLERS 1" in config_h.read()


def unsanitized(case):
    """A case, or a class of cases, that there is not in builds with sanitizers: they tell of crashes, and of leaks that
    are meant, themselves."""
    return None if SANITIZED else case


class Scratch(unittest.TestCase):
    """A test with a folder of its own; every process it started is gone afterwards."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="outbox-test-")
        self.addCleanup(shutil.rmtree, self.dir)  # also of a test that is skipped
        self.processes = []

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text, mode=0o644):
        """Writes a file into the scratch folder and returns its path."""
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(text.encode() if isinstance(text, str) else text)
        os.chmod(path, mode)
        return path

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def config(self, publishers="", relay="", router="[router]\nfallback = out\n", name="outboxd.ini"):
        """An INI with a SQLite store; returns its path. `relay` is lines of [relay]."""
        self.db = self.path("shop.db")
        return self.write(name, "[relay]\nplugin_dir = %s\n%s\n[store]\nplugin = sqlite\npath = %s\n\n%s\n%s"
                          % (PLUGIN_DIR, relay, self.db, publishers, router), 0o600)

    def outboxd(self, *args, code=0, stdin=b"", config=None):
        """Runs a command to its end, checks its exit code, returns the CompletedProcess."""
        command = [PROGRAM, args[0], "-c", config or self.path("outboxd.ini"), *args[1:]]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        if code is not None:
            self.assertEqual(done.returncode, code, "%s\n%s%s" % (command, done.stdout, done.stderr))
        return done

    def outboxd_json(self, *args, **kwargs):
        """The objects of a --json command, one a line."""
        return [json.loads(line) for line in self.outboxd(*args, "--json", **kwargs).stdout.split("\n")[:-1]]

    def start(self, *args, log="relay.log", config=None, **kwargs):
        """Starts a long-running command; its log goes to a file of the scratch folder."""
        with open(self.path(log), "ab") as f:
            process = subprocess.Popen([PROGRAM, args[0], "-c", config or self.path("outboxd.ini"), *args[1:]],
                                       stdin=subprocess.DEVNULL, stdout=f, stderr=f, **kwargs)
        self.processes.append(process)
        return process

    def takes_signals(self, process):
        """Whether a relay has come so far that it ends in order when told to, or has ended."""
        try:
            with open("/proc/%d/status" % process.pid, encoding="ascii", errors="replace") as f:
                blocked = next(line for line in f if line.startswith("SigBlk:"))
        except (FileNotFoundError, ProcessLookupError):
            return True
        return process.poll() is not None or int(blocked.split()[1], 16) >> (signal.SIGTERM - 1) & 1

    def stop(self, process, code=0, sig=signal.SIGTERM):
        self.until(lambda: self.takes_signals(process), "the relay to begin")
        process.send_signal(sig)
        ended = process.wait(PATIENCE)
        self.assertEqual(ended, code, self.logs_end() if ended != code else "")

    def freeze(self, process, db=None):
        """Stops a relay; with SQLite, whose connection `db` is, while it does not hold the one write lock, which
        nobody could take from it."""
        def is_stopped():
            states = []
            for task in os.listdir("/proc/%d/task" % process.pid):
                try:
                    with open("/proc/%d/task/%s/stat" % (process.pid, task), encoding="ascii", errors="replace") as f:
                        states.append(f.read().rsplit(")", 1)[1].split()[0])
                except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                    return False
            return set(states) == {"T"}

        def stop_it():
            process.send_signal(signal.SIGSTOP)
            self.until(is_stopped, "all its threads to stop")

        def frozen_without_lock():
            stop_it()
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
                return True
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                return False
        if not db:
            stop_it()
            return
        db.execute("PRAGMA busy_timeout = 100")
        self.until(frozen_without_lock, "a moment without the lock")

    def until(self, condition, what, patience=PATIENCE):
        """Waits for a condition, returns its value; fails with `what` when it does not come."""
        end = time.monotonic() + patience
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                self.fail("waited %d s for %s%s" % (patience, what, self.logs_end()))
            time.sleep(0.02)

    def logs_end(self):
        """How the logs of all relays end, for whoever reads of a failure."""
        logs = sorted(name for name in os.listdir(self.path("")) if name.endswith(".log"))
        return "".join("\n---- %s\n%s" % (name, self.read(name)[-1500:]) for name in logs)

    def connect(self):
        """A producer's connection: autocommit off by hand (BEGIN, COMMIT)."""
        db = sqlite3.connect(self.db, timeout=30, isolation_level=None)
        self.addCleanup(db.close)
        return db

    def query(self, sql, *args):
        db = sqlite3.connect(self.db, timeout=30)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()


class _Tap(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.count = 0

    def line(self, result, test, comment=""):
        self.count += 1
        print("%s %d - %s%s" % (result, self.count, test.id().replace("__main__.", ""), comment), flush=True)

    @staticmethod
    def explain(text):
        for line in str(text).splitlines():
            print("# " + line, flush=True)

    def addSuccess(self, test):
        self.line("ok", test)

    def addError(self, test, err):
        self.explain(self._exc_info_to_string(err, test))
        self.line("not ok", test)
        super().addError(test, err)

    def addFailure(self, test, err):
        self.addError(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(subtest, err)

    def addSkip(self, test, reason):
        # In CI nothing may be left out: what cannot run has failed.
        if os.environ.get("CI"):
            self.line("not ok", test, " (cannot run: %s)" % reason)
            self.failures.append((test, reason))
        else:
            self.line("ok", test, " # SKIP " + reason)


def main():
    result = _Tap()
    names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    suite.run(result)
    print("1..%d" % result.count, flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)
