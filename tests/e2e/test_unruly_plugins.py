# SPDX-License-Identifier: Apache-2.0
"""Plugins that break the rules while a relay runs: it goes on, does not send in a loop, and says whose fault it is."""

import os
import re
import resource
import shutil
import signal
import time

import outbox_test
import relay_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")


class Unruly(relay_test.Relay):
    def setUp(self):
        super().setUp()
        self.shops = 0
        self.folder = self.path("plugins")
        os.mkdir(self.folder, 0o755)
        for name in ("pub-unruly.so", "rule-unruly.so"):
            shutil.copy(os.path.join(FIXTURES, name), self.folder)
            os.chmod(os.path.join(self.folder, name), 0o755)
        shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), self.folder)

    def shop(self, options, relay="", router="[router]\nfallback = out\n"):
        self.shops += 1
        self.db = self.path("shop%d.db" % self.shops)
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\npoll_interval = 100ms\n%s\n[store]\nplugin = sqlite\npath = %s\n"
                   "[publisher out]\nplugin = unruly\n%s\n%s" % (self.folder, relay, self.db, options, router), 0o600)
        self.outboxd("init")

    def run_once(self, code=1):
        """Both workers, and a patience of two seconds. What it said on standard error."""
        done = self.outboxd("run", "--once", "--wait", "2s", code=code)
        return done.stderr

    def lines(self, said, text):
        return [line for line in said.splitlines() if text in line]

    def refuse(self, option, defect):
        """The plugin is named once, the publisher paused, and the run ends and says why."""
        self.shop(option + "\nbatch_size = 10")
        self.insert("x", count=50)
        began = time.monotonic()
        said = self.run_once()
        self.assertLess(time.monotonic() - began, 20)
        told = self.lines(said, 'msg="a plugin is broken"')
        self.assertEqual(len(told), 1, said)
        self.assertIn('level=error msg="a plugin is broken" plugin=pub-unruly instance="publisher out" operation=%s '
                      % option.split()[0], told[0])
        self.assertIn(defect, told[0])
        self.assertLessEqual(len(self.lines(said, "msg=published")), 10, said)
        self.assertRegex(said, r"outboxd: publisher out was unavailable for \d.\d s: pub-unruly is broken: in `%s` it "
                         % option.split()[0])
        self.assertIn(defect, said.splitlines()[-1])
        self.assertEqual(len(self.lines(said, "publisher is unavailable")), 1, said)
        return said


class Results(Unruly):
    def test_an_unknown_outcome_pauses_the_publisher(self):
        self.refuse("publish = outcome 77", "it set the unknown outcome 77")
        self.assertEqual(self.query("SELECT count(*), max(retries) FROM outbox_messages WHERE status = 'pending'"), [(50, 0)])

    def test_a_positive_result_pauses_the_publisher(self):
        self.refuse("publish = return 42", "it returned 42, which is neither OUTBOX_OK nor negative")
        self.refuse_check("check = return 42", "it returned 42, which is neither OUTBOX_OK nor negative")

    def test_a_cancelled_call_that_nobody_cancelled_pauses_the_publisher(self):
        self.refuse("publish = return -5", "it returned OUTBOX_E_CANCELLED, though nobody cancelled the call")
        self.refuse_check("check = return -5", "it returned OUTBOX_E_CANCELLED, though nobody cancelled the call")

    def refuse_check(self, option, defect):
        """Told of a check, by itself, and before a message is tried again."""
        self.shop(option)
        self.assertIn(defect, self.outboxd("check", "--connect", code=1).stderr)
        self.shop(option + "\npublish = fail -1")
        self.insert("x")
        said = self.run_once()
        self.assertEqual(len(self.lines(said, "operation=check")), 1, said)

    def test_an_unknown_class_of_error_is_one_that_passes(self):
        self.shop("publish = fail -99")
        self.insert("x")
        said = self.run_once()
        self.assertIn("publisher out was unavailable", said)
        self.assertIn("the moon is full", said)
        self.assertNotIn("broken", said)

    def test_an_unknown_verdict_of_keepalive_pauses_the_publisher(self):
        self.shop("keepalive = verdict 9\nwhile = %s" % self.write("while", ""))
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the pause")
        self.assertIn("operation=keepalive defect=\"it set the unknown verdict 9\"", self.read("relay.log"))
        os.unlink(self.path("while"))
        self.until_status(self.insert("x"), "processed")
        self.stop(relay)
        self.assertEqual(len(self.lines(self.read("relay.log"), "a plugin is broken")), 1)

    def test_an_unknown_critical_capability_is_refused(self):
        self.shop("capabilities = bits 66")
        for command in (("check",), ("run", "--once")):
            said = self.outboxd(*command, code=2).stderr
            self.assertIn("publisher out: pub-unruly 1 asks for what this host does not know (capabilities 0x40)", said)

    def test_a_rule_that_decides_for_nobody_keeps_the_message(self):
        for how, defect in (("return 7", "it returned 7, which is neither OUTBOX_OK nor negative"),
                            ("nothing", "it decided, and named no publisher")):
            self.shop("", router="[route odd]\nplugin = unruly\nroute = %s\n" % how)
            ids = self.insert("x", count=3)
            done = self.outboxd("run", "--once", "--wait", "1s")
            self.assertIn("published 0, failed 0, not due yet 3 (of these unrouted 3)", done.stdout)
            told = self.lines(done.stderr, "a plugin is broken")
            self.assertEqual(len(told), 1, done.stderr)
            self.assertIn('plugin=rule-unruly instance="route odd" operation=route defect="%s"' % defect, told[0])
            self.assertIn(defect, self.row(ids[0])["last_error"])


class Outages(Unruly):
    def test_a_call_without_an_outcome_says_so(self):
        self.shop("publish = nothing")
        self.insert("x", count=5)
        self.assertIn("it returned OUTBOX_OK and set no outcome for any message", self.run_once())

    def test_one_message_without_an_outcome_pauses_the_publisher(self):
        self.shop("publish = nothing")
        self.insert("x")
        self.assertIn("publisher out was unavailable", self.run_once())

    def test_a_call_that_takes_all_the_time_says_that(self):
        self.shop("publish = dawdle\nbatch_timeout = 1s")
        self.insert("x", count=5)
        said = self.run_once()
        self.assertIn("it answered for no message within batch_timeout", said)
        self.assertNotIn("set no outcome", said)

    def test_an_outage_is_one_line_though_the_check_passes(self):
        for how in ("fail -2", "return 3"):
            self.shop("publish = %s\nwhile = %s" % (how, self.write("while", "")))
            log = how.replace(" ", "") + ".log"
            relay = self.start("run", log=log)
            ids = self.insert("x", count=3)
            self.until(lambda: len(self.lines(self.read(log), "msg=published")) >= 4, "a few probes")
            said = self.read(log)
            self.assertEqual(len(self.lines(said, "publisher is unavailable")), 1, said)
            self.assertNotIn("publisher is back", said)
            os.unlink(self.path("while"))
            for i in ids:
                self.until_status(i, "processed")
            self.stop(relay)
            self.assertEqual(len(self.lines(self.read(log), "publisher is back")), 1)
            self.assertEqual(len(self.lines(self.read(log), "publisher is unavailable")), 1)

    def test_a_message_that_waits_says_why_until_it_is_processed(self):
        for how, why in (("later 300", "the publisher asked to wait, and gave no reason"),
                         ("later because", "the moon is full")):
            self.shop("publish = %s\nwhile = %s" % (how, self.write("while", "")))
            self.write("outboxd.ini", self.read("outboxd.ini") + "[log]\nlevel = debug\n", 0o600)
            log = how.replace(" ", "") + ".log"
            relay = self.start("run", log=log)
            i = self.insert("x")
            self.until(lambda: self.row(i)["last_error"] == why, "the reason")
            self.assertEqual(self.row(i)["retries"], 0)
            line = self.lines(self.read(log), "message will be tried again")[0]
            self.assertIn("level=debug", line)
            self.assertIn('reason="%s"' % why, line)
            os.unlink(self.path("while"))
            self.assertEqual(self.until_status(i, "processed")["last_error"], "")
            self.stop(relay)

    def test_a_publisher_asks_for_a_day_at_most(self):
        self.shop("publish = later 2000000000")
        i = self.insert("x")
        self.run_once(code=0)
        at = self.query("SELECT available_at / 1e6 FROM outbox_messages WHERE id = ?", i)[0][0]
        self.assertLessEqual(at - time.time(), 86400 + 1)
        self.assertGreater(at - time.time(), 86000)


class Threads(Unruly):
    def blocked(self, pid, task):
        with open("/proc/%d/task/%d/status" % (pid, task), encoding="ascii") as f:
            return int(re.search(r"SigBlk:\s*([0-9a-f]+)", f.read()).group(1), 16)

    def test_all_threads_block_all_signals_but_faults(self):
        faults = sum(1 << (s - 1) for s in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT))
        never = sum(1 << (s - 1) for s in (signal.SIGKILL, signal.SIGSTOP, 32, 33))
        self.shop("")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        for task in os.listdir("/proc/%d/task" % relay.pid):
            taken = ~self.blocked(relay.pid, int(task)) & ((1 << 64) - 1) & ~never
            # the sanitizer's own thread takes none, or with newer ones SIGSYS
            self.assertIn(taken, (faults, 0, 1 << (signal.SIGSYS - 1)) if outbox_test.SANITIZED else (faults,))
        self.stop(relay)

    def test_signals_that_a_plugin_unblocks_are_blocked_again(self):
        for operation in ("publish", "check", "keepalive", "open"):
            self.shop("%s = unblock%s" % (operation, "\npublish = fail -1" if operation == "check" else ""))
            log = operation + ".log"
            relay = self.start("run", log=log)
            self.insert("x", count=10)
            wanted = 'plugin=pub-unruly instance="publisher out" operation=%s defect="it changed which signals' % operation
            self.until(lambda: wanted in self.read(log), "the plugin to be named")
            # another thread may be in the plugin just now
            self.until(lambda: all(self.blocked(relay.pid, int(task)) >> (signal.SIGTERM - 1) & 1
                                   for task in os.listdir("/proc/%d/task" % relay.pid)), "the signals to be blocked again")
            if operation in ("publish", "open"):  # no such call is left
                self.stop(relay)
            else:  # the signal ends the process at once while the plugin has it unblocked
                relay.terminate()
                self.assertIn(relay.wait(outbox_test.PATIENCE), (0, -signal.SIGTERM))
            self.assertEqual(len(self.lines(self.read(log), wanted)), 1)

    def test_a_terminal_still_stops_and_ends_it(self):
        self.shop("")
        def as_a_job():
            os.setpgid(0, 0)  # not orphaned
            for one in (signal.SIGTSTP, signal.SIGQUIT):  # a script's `&` ignores SIGQUIT, and who inherits that does, too
                signal.signal(one, signal.SIG_DFL)
        relay = self.start("run", preexec_fn=as_a_job)
        self.until_status(self.insert("x"), "processed")
        relay.send_signal(signal.SIGTSTP)
        def state():
            with open("/proc/%d/stat" % relay.pid, encoding="ascii") as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        self.until(lambda: state() == "T", "it to stop")
        relay.send_signal(signal.SIGCONT)
        self.until_status(self.insert("x"), "processed")
        resource.prlimit(relay.pid, resource.RLIMIT_CORE, (0, 0))
        relay.send_signal(signal.SIGQUIT)
        self.assertEqual(relay.wait(outbox_test.PATIENCE), -signal.SIGQUIT)

    def test_a_call_that_is_overdue_is_told_while_it_lasts(self):
        self.shop("publish = hang 8000\nbatch_timeout = 1s\nwhile = %s" % self.write("while", ""), "workers = 1")
        relay = self.start("run")
        i = self.insert("x")
        self.until(lambda: "has not returned" in self.read("relay.log"), "the warning")
        said = self.lines(self.read("relay.log"), "has not returned")[0]
        self.assertIn('level=warning msg="a plugin\'s call has not returned, though its time-out is over" '
                      'plugin=pub-unruly instance="publisher out" operation=publish seconds_late=', said)
        self.assertNotIn("came back late", self.read("relay.log"))
        os.unlink(self.path("while"))
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.until(lambda: "came back late" in self.read("relay.log"), "its end")
        self.assertRegex(self.read("relay.log"), r'came back late" plugin=pub-unruly instance="publisher out" operation=publish '
                         r'seconds_late=[67]')
        self.stop(relay)
        self.assertEqual(len(self.lines(self.read("relay.log"), "has not returned")), 1)
        self.assertEqual(len(self.lines(self.read("relay.log"), "came back late")), 1)


@outbox_test.unsanitized
class Crashes(Unruly):
    def crash(self, options, where, sig=signal.SIGSEGV, act=None, **shop):
        """A relay dies by the signal, as without us, and has said where."""
        self.shop(options, **shop)
        if os.path.exists(self.path("relay.log")):
            os.unlink(self.path("relay.log"))
        relay = self.start("run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        self.insert("x")
        if act:
            act(relay)
        self.assertEqual(relay.wait(outbox_test.PATIENCE), -sig, self.logs_end())
        lines = self.lines(self.read("relay.log"), "crashed")
        self.assertEqual(lines, ["outboxd: crashed %s, by %s" % (where, sig.name)])

    def test_the_operation_is_named(self):
        self.crash("publish = crash 11", "in publisher out (pub-unruly.so) publish")
        self.crash("publish = crash 6", "in publisher out (pub-unruly.so) publish", signal.SIGABRT)
        self.crash("publish = crash 8", "in publisher out (pub-unruly.so) publish", signal.SIGFPE)
        self.crash("publish = fail -1\ncheck = crash 11", "in publisher out (pub-unruly.so) check")
        self.crash("keepalive = crash 7", "in publisher out (pub-unruly.so) keepalive", signal.SIGBUS)
        self.crash("open = crash 4", "in publisher out (pub-unruly.so) open", signal.SIGILL)
        self.crash("", "in route odd (rule-unruly.so) route",
                   router="[route odd]\nplugin = unruly\nroute = crash 11\n")

    def test_a_crash_in_close_is_named(self):
        def stop(relay):
            self.until(lambda: self.query("SELECT 1 FROM outbox_messages WHERE status = 'processed'"), "the message")
            relay.send_signal(signal.SIGTERM)
        self.crash("close = crash 11", "in publisher out (pub-unruly.so) close", act=stop)

    def test_a_thread_of_the_plugins_own_is_told(self):
        self.crash("publish = thread", "in a thread of a plugin or library")

    def test_a_command_that_a_plugin_crashes_names_it(self):
        self.shop("check = crash 11")
        done = self.outboxd("check", "--connect", code=-signal.SIGSEGV)
        self.assertIn("outboxd: crashed in publisher out (pub-unruly.so) check, by SIGSEGV\n", done.stderr)

    def test_a_signal_from_outside_is_no_crash(self):
        self.shop("")
        relay = self.start("run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        self.until_status(self.insert("x"), "processed")
        relay.send_signal(signal.SIGABRT)
        self.assertEqual(relay.wait(outbox_test.PATIENCE), -signal.SIGABRT)
        self.assertNotIn("crashed", self.read("relay.log"))


if __name__ == "__main__":
    outbox_test.main()
