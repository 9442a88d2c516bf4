# SPDX-License-Identifier: Apache-2.0
"""outbox-conform tells good plugins from bad ones: each deliberately wrong one fails the test that was written for its
defect, and no other; our own that need no server conform to level 4."""

import concurrent.futures
import os
import shutil
import sys
import tempfile

import conform_test
import outbox_test

WRONG = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures", "wrong")
# Plugins whose only defect is their name.
PUBLISHERS = """accepts-without-publishing borrowed-memory cancelled-unasked changes-messages closes-cancel-fd
    crashes-in-close directory environment error-text late-return leaks-descriptors leaks-threads locale logs-after-close
    never-returns outcome-number reads-cancel-fd reads-past reason-memory result-positive signal-handler signal-mask
    slow-close slow-open umask unset-ret writes-beyond writes-stderr writes-stdout""".split()
RULES = ["decision-changes"]
STORES = ["batch-changed", "batch-limit", "forgets-release", "settles-nothing"]
SCRATCH = "[conform]\nscratch = yes\n"

# A statement on stdin, the first column on stdout.
SQLITE = r"""import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for row in db.execute(sys.stdin.read()):
    print(row[0])
"""


@conform_test.NEEDED
class WrongPlugins(outbox_test.Scratch):
    @classmethod
    def setUpClass(cls):
        """All runs at once: they mostly wait."""
        cls.folder = tempfile.mkdtemp(prefix="outbox-conform-")
        os.chmod(cls.folder, 0o755)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            slow_first = sorted(PUBLISHERS, key=lambda name: not name.startswith(("slow", "late", "never", "accepts")))
            jobs = {name: pool.submit(cls.publisher, name) for name in slow_first + ["sound"]}
            jobs.update({"rule " + name: pool.submit(cls.rule, name) for name in RULES + ["sound"]})
            jobs.update({"store " + name: pool.submit(cls.store, name) for name in STORES + ["sound"]})
        cls.runs = {name: job.result() for name, job in jobs.items()}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def publisher(cls, name):
        arrived = os.path.join(cls.folder, name + ".out")
        return conform_test.Run(cls.folder, os.path.join(WRONG, "pub-%s.so" % name),
                                "[publisher x]\npath = %s\n%sverify = touch %s; cat %s\n" % (arrived, SCRATCH, arrived, arrived),
                                name=name)

    @classmethod
    def rule(cls, name):
        return conform_test.Run(cls.folder, os.path.join(WRONG, "rule-%s.so" % name),
                                "[route x]\nlabel = y\n[publisher out]\n" + SCRATCH, name="rule-" + name)

    @classmethod
    def store(cls, name):
        db, script = os.path.join(cls.folder, name + ".db"), os.path.join(cls.folder, name + ".py")
        with open(script, "w", encoding="utf-8") as f:
            f.write(SQLITE)
        return conform_test.Run(cls.folder, os.path.join(WRONG, "store-%s.so" % name),
                                "[store]\npath = %s\n%ssql = %s %s %s\n" % (db, SCRATCH, sys.executable, script, db),
                                name="store-" + name)

    def fails_only(self, run, name):
        self.assertEqual(run.failed, [name], run.text())
        self.assertEqual(run.junit_failed(), [name])
        self.assertEqual(run.code, 1)
        self.assertIn("\n# FAILED %s: " % name, run.out)

    def test_sound_ones_pass(self):
        for run in (self.runs["sound"], self.runs["rule sound"], self.runs["store sound"]):
            self.assertEqual((run.code, run.failed, run.reached()), (0, [], 3), run.text())
        skipped = set(self.runs["sound"].skipped)
        self.assertEqual(skipped, {"keepalive_says_that_it_is_healthy", "collects-unknown", "collects-late", "writes-early"})

    def test_levels_4_and_5_tell_of_loss_and_of_what_grows(self):
        for name, test in (("accepts-without-publishing", "nothing_accepted_is_lost_in_kills"),
                           ("crashes-in-close", "it_works_all_the_time"),
                           ("leaks-descriptors", "its_descriptors_and_threads_do_not_grow")):
            arrived = self.write(name + ".out", "")
            run = conform_test.Run(self.dir, os.path.join(WRONG, "pub-%s.so" % name),
                                   "[publisher x]\npath = %s\n%sverify = cat %s\nsoak = 2s\ncomes_back = 5s\n"
                                   % (arrived, SCRATCH, arrived), "--only", test)
            self.assertEqual((run.code, run.failed), (1, [test]), run.text())

    def test_every_fixture_is_among_them(self):
        built = {f for f in os.listdir(WRONG) if f.endswith(".so")}
        known = {"%s-%s.so" % (kind, name) for kind, names in (("pub", PUBLISHERS), ("rule", RULES), ("store", STORES))
                 for name in names + ["sound"]}
        self.assertLessEqual(built, known)


def wrong(key, name):
    return lambda self: self.fails_only(self.runs[key], name)


for _prefix, _names in (("", PUBLISHERS), ("rule ", RULES), ("store ", STORES)):
    for _name in _names:
        setattr(WrongPlugins, "test_%s_fails_that_test_alone" % (_prefix + _name).replace("-", "_").replace(" ", "_"),
                wrong(_prefix + _name, _name))


@conform_test.NEEDED
class OwnPlugins(outbox_test.Scratch):
    def conforms(self, plugin, ini, *args, level=4):
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, plugin), ini, "--level", str(level), *args)
        self.assertEqual((run.code, run.failed, run.reached()), (0, [], level), run.text())
        return run

    def test_pub_exec_conforms_in_mode_message(self):
        arrived = self.write("arrived", "")
        program = self.write("program.sh", "#!/bin/sh\ncat >/dev/null\necho \"$OUTBOX_ID\" >>%s\n" % arrived, 0o755)
        run = self.conforms("pub-exec.so", "[publisher x]\nmode = message\ncommand = %s\n%sverify = cat %s\nsoak = 8s\n"
                            % (program, SCRATCH, arrived), level=5)
        self.assertIn("nothing_accepted_is_lost_in_kills", run.passed)

    def test_a_slow_publisher_conforms_in_several_calls(self):
        """In each it begins messages for a second, which is not enough for 300 of them."""
        arrived = self.write("arrived", "")
        program = self.write("program.sh", "#!/bin/sh\ncat >/dev/null\nsleep 0.01\necho \"$OUTBOX_ID\" >>%s\n" % arrived, 0o755)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-exec.so"),
                               "[publisher x]\nmode = message\ncommand = %s\nbatch_timeout = 15s\ntimeout = 14s\n"
                               "%sverify = cat %s\n" % (program, SCRATCH, arrived),
                               "--only", "accepted_messages_have_arrived_once")
        self.assertEqual((run.code, run.failed), (0, []), run.text())

    def test_pub_exec_conforms_in_mode_stream(self):
        arrived = self.write("arrived", "")
        program = self.write("program.py", r"""import json, sys
out = open(%r, "a", buffering=1)
sys.stdin.readline()
for line in sys.stdin:
    message = json.loads(line)
    print(message["id"], file=out)
    print(json.dumps({"id": message["id"], "status": "ok"}), flush=True)
""" % arrived)
        self.conforms("pub-exec.so", "[publisher x]\nmode = stream\ncommand = %s %s\n%sverify = cat %s\n"
                      % (sys.executable, program, SCRATCH, arrived))

    def test_an_asynchronous_publisher_conforms(self):
        arrived = self.write("arrived", "")
        run = conform_test.Run(self.dir, os.path.join(os.path.dirname(WRONG), "pub-async.so"),
                               "[publisher x]\npath = %s\n%sverify = cut -d ' ' -f 1 %s\nsoak = 8s\n"
                               % (arrived, SCRATCH, arrived), "--level", "5")
        self.assertEqual((run.code, run.failed, run.reached()), (0, [], 5), run.text())
        self.assertLessEqual({"collects-unknown", "collects-late", "writes-early", "nothing_accepted_is_lost_in_kills"},
                             set(run.passed))

    def test_store_sqlite_conforms(self):
        db, script = self.path("shop.db"), self.write("sql.py", SQLITE)
        run = self.conforms("store-sqlite.so", "[store]\npath = %s\n%ssql = %s %s %s\nsoak = 8s\n"
                            % (db, SCRATCH, sys.executable, script, db), level=5)
        self.assertIn("done_messages_are_kept_as_processed", run.passed)
        self.assertIn("nothing_written_is_lost_in_kills", run.passed)

    def test_store_sqlite_conforms_by_its_abi_alone(self):
        run = self.conforms("store-sqlite.so", "[store]\npath = %s\n%s" % (self.path("shop.db"), SCRATCH), level=2)
        self.assertIn("payloads_arrive_as_they_were_written", run.passed)
        self.assertIn("done_messages_are_kept_as_processed", run.skipped)


@conform_test.NEEDED
class Usage(outbox_test.Scratch):
    PLUGIN = os.path.join(WRONG, "pub-sound.so")

    def refused(self, ini, *said, args=(), plugin=PLUGIN):
        run = conform_test.Run(self.dir, plugin, ini, *args)
        self.assertEqual((run.code, run.out), (2, ""))
        for text in said:
            self.assertIn(text, run.err)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_nothing_runs_unless_the_file_says_that_it_may(self):
        section = "[publisher x]\npath = %s\n" % self.path("out")
        self.refused(section, "conform.ini:1: there is no [conform] section")
        self.refused(section + "[conform]\n", "conform.ini:3: [conform] lacks `scratch = yes`")
        self.refused(section + "[conform]\nscratch = no\n", "conform.ini:3: [conform] lacks `scratch = yes`")

    def test_mistakes_are_told_with_their_lines(self):
        section = "[publisher x]\npath = %s\n" % self.path("out")
        self.refused("[conform]\nscratch = yes\n[publisher x]\npat = 1\n", ":4: unknown key `pat`", ":3: [publisher x] lacks `path`")
        self.refused(section + SCRATCH + "verfy = cat\n", ":5: unknown key `verfy` in [conform]; did you mean `verify`?")
        self.refused(section + SCRATCH + "[kil]\n", ":5: unknown section [kil]")
        self.refused(section + SCRATCH + "[kill]\nstop = true\n", ":5: [kill] lacks `start`")
        self.refused("[publisher x]\nplugin = other\n" + SCRATCH, "there is no [publisher NAME] section for pub-sound")
        os.remove(self.path("conform.ini"))
        done = conform_test.Run(self.dir, self.PLUGIN, section + SCRATCH, "-c", self.path("none.ini"))
        self.assertEqual(done.code, 2)
        self.assertIn("none.ini", done.err)

    def test_wrong_arguments_are_told(self):
        ini = "[publisher x]\npath = %s\n%s" % (self.path("out"), SCRATCH)
        self.refused(ini, "--level is a number from 1 to 5, not 7", args=["--level", "7"])
        self.refused(ini, "--list has no test nothing", args=["--only", "nothing"])
        self.refused(ini, "No such file", plugin=self.path("pub-none.so"))
        self.refused(ini, "is not the name of a plugin", plugin=self.write("sound.so", ""))

    def test_a_module_that_cannot_be_loaded_fails_the_first_test(self):
        self.write("pub-text.so", "no module\n", 0o755)
        os.chmod(self.dir, 0o755)
        run = conform_test.Run(self.dir, self.path("pub-text.so"), "[publisher x]\n" + SCRATCH)
        self.assertEqual((run.code, run.reached()), (1, 0))
        self.assertEqual(run.failed[0], "its_descriptor_is_accepted")
        self.assertIn("cannot be loaded", run.out)

    def test_one_test_may_be_run_alone(self):
        ini = "[publisher x]\npath = %s\n%s" % (self.path("out"), SCRATCH)
        run = conform_test.Run(self.dir, self.PLUGIN, ini, "--only", "slow-open")
        self.assertEqual((run.code, run.passed, run.failed), (0, ["slow-open"], []))


if __name__ == "__main__":
    outbox_test.main()
