# SPDX-License-Identifier: Apache-2.0
"""What a program of pub-exec finds around it, in both modes."""

import os
import re
import shutil
import signal
import subprocess

import outbox_test
import relay_test

# Writes its environment and folder, then takes what there is.
PROGRAM = r"""#!/bin/sh
env -0 >"%(dir)s/env.$$" && mv "%(dir)s/env.$$" "%(dir)s/env"
pwd >"%(dir)s/folder"
[ -n "$OUTBOX_ID" ] && { cat >"%(dir)s/payload"; exit 0; }
read -r hello
while IFS= read -r line; do
    printf '%%s\n' "$line" >>"%(dir)s/lines"
    id=${line#'{"id":"'}
    printf '{"id":"%%s","status":"ok"}\n' "${id%%%%\"*}"
done
"""
# The shell's own.
SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}


class Surroundings(relay_test.Relay):
    def relay(self, mode):
        """Relays with a relay whose environment holds a secret; returns the program's environment."""
        program = self.write("program.sh", PROGRAM % {"dir": self.dir}, 0o755)
        os.makedirs(self.path("far"), exist_ok=True)
        self.config("[publisher out]\nplugin = exec\nmode = %s\ncommand = \"%s\"\nworking_directory = %s\n"
                    "pass_env = GIVEN, UNSET, PATH\n" % (mode, program, self.path("far")))
        env = {"PATH": os.environ["PATH"], "HOME": "/home/x", "LANG": "C", "LC_ALL": "C.UTF-8", "TZ": "UTC",
               "GIVEN": "a = b", "SECRET": "hush", "OUTBOX_TOPIC": "forged", "LD_LIBRARY_PATH": "/nowhere"}
        subprocess.run([outbox_test.PROGRAM, "run", "--once", "-c", self.path("outboxd.ini")], env=env, check=True,
                       capture_output=True, timeout=outbox_test.PATIENCE)
        found = dict(e.split("=", 1) for e in self.read("env").split("\0") if e)
        for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "GIVEN"):
            self.assertEqual(found[name], env[name])
        self.assertEqual(self.read("folder").strip(), self.path("far"))
        return {name: value for name, value in found.items() if name not in SHELL}

    def test_mode_message_gets_the_message_and_what_is_allowed(self):
        self.shop()
        i = self.insert(b"\0binary\xff", topic="order.placed", key="k-1", headers='{"content-type":"x/y"}', retries=2,
                        created_at="2026-01-02 03:04:05.678")
        self.assertEqual(set(self.relay("message")) - {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "GIVEN"},
                         {"OUTBOX_ID", "OUTBOX_TOPIC", "OUTBOX_KEY", "OUTBOX_RETRIES", "OUTBOX_CREATED_AT",
                          "OUTBOX_HEADER_CONTENT_TYPE"})
        found = dict(e.split("=", 1) for e in self.read("env").split("\0") if e)
        self.assertEqual([found["OUTBOX_" + n] for n in ("ID", "TOPIC", "KEY", "RETRIES", "CREATED_AT", "HEADER_CONTENT_TYPE")],
                         [i, "order.placed", "k-1", "2", "2026-01-02T03:04:05.678000Z", "x/y"])
        with open(self.path("payload"), "rb") as f:
            self.assertEqual(f.read(), b"\0binary\xff")

    def test_mode_stream_gets_nothing_of_the_messages_in_its_environment(self):
        self.shop()
        i = self.insert(b"\0binary\xff", topic="order.placed", key="k-1", headers='{"a":1}', retries=2,
                        created_at="2026-01-02 03:04:05.678")
        self.assertEqual(set(self.relay("stream")), {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "GIVEN"})
        self.assertEqual(self.read("lines"),
                         '{"id":"%s","topic":"order.placed","key":"k-1","headers":{"a":"1"},"payload_base64":"AGJpbmFyef8=",'
                         '"retries":2,"created_at":"2026-01-02T03:04:05.678000Z"}\n' % i)

    def test_whoever_starts_it_may_ignore_its_children(self):
        """Then the kernel would not keep how a program ended; an ignored signal outlives execve."""
        self.shop()
        i = self.insert("x")
        done = subprocess.run([outbox_test.PROGRAM, "run", "-c", self.path("outboxd.ini"), "--once"], timeout=60,
                              preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual((done.returncode, self.row(i)["status"], self.row(i)["retries"]), (0, "processed", 0))

    def test_without_path_it_is_looked_for_where_it_will_be_found(self):
        self.config("[publisher out]\nplugin = exec\ncommand = true\n")
        self.outboxd("init")
        self.insert("x")
        for command in (["check", "--connect"], ["run", "--once"]):
            subprocess.run(["/usr/bin/env", "-i", outbox_test.PROGRAM, command[0], "-c", self.path("outboxd.ini"), command[1]],
                           check=True, timeout=60)

    def test_a_folder_that_is_not_there_is_an_outage(self):
        self.shop(options="working_directory = /nonexistent/folder\n")
        i = self.insert("x")
        self.assertIn("No such file", self.outboxd("run", "--once", "--wait", "200ms", code=1).stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        self.assertIn("working_directory", self.outboxd("check", "--connect", code=1).stderr)


class Slow(relay_test.Relay):
    def test_what_has_no_time_left_in_its_batch_is_no_outage(self):
        """Programs may take two of three seconds: for the second part of a batch none is begun any more."""
        self.shop("batch_size = 40\nworkers = 1\n", "batch_size = 10\nconcurrency = 1\ntimeout = 2s\nbatch_timeout = 3s\n")
        ids = self.insert("sleep 0.2", count=30)
        relay = self.start("run")
        for i in ids:
            self.until_status(i, "processed")
        self.stop(relay)
        self.assertNotIn("unavailable", self.read("relay.log"))
        self.assertEqual(len(self.arrived()), 30)


class Processes(relay_test.Relay):
    """Orphans, and programs that do not die."""

    def children(self, pid):
        try:
            with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
                return [int(p) for p in f.read().split()]
        except FileNotFoundError:
            return []

    def is_zombie(self, pid):
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return False

    def test_process_1_reaps_orphans_and_hands_on_signals(self):
        if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False, capture_output=True).returncode:
            self.skipTest("this user may not make a PID namespace")
        program = self.write("orphan.sh", "#!/bin/sh\n(sleep 0.1 &) >/dev/null 2>&1 </dev/null\n", 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % program)
        self.outboxd("init")
        ids = self.insert("x", count=20)
        with open(self.path("relay.log"), "wb") as f:
            outer = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", outbox_test.PROGRAM, "run", "-c",
                                      self.path("outboxd.ini")], stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        self.processes.append(outer)
        for i in ids:
            self.until_status(i, "processed")
        first = self.children(outer.pid)[0]
        self.until(lambda: len(self.children(first)) == 1, "orphans to be reaped")
        self.assertFalse(self.is_zombie(self.children(first)[0]))
        os.kill(first, signal.SIGTERM)
        self.assertEqual(outer.wait(outbox_test.PATIENCE), 0, self.read("relay.log"))
        self.assertIn("stopped", self.read("relay.log"))

    def test_a_program_that_cannot_be_killed_is_left_behind(self):
        if os.geteuid() != 0:
            self.skipTest("needs root: the relay runs as another user than its program")
        nobody = 65534
        setuid = self.path("setpriv")
        shutil.copy(shutil.which("setpriv"), setuid)
        os.chmod(setuid, 0o4755)
        self.config("[publisher out]\nplugin = exec\ntimeout = 1s\n"
                    "command = %s --reuid 0 --regid 0 --clear-groups sleep 600\n" % setuid, "workers = 1\nretry_min = 1h\nretry_max = 1h")
        self.outboxd("init")
        ids = self.insert("x", count=2)
        # That user may not be able to enter the folders of the source and of the build.
        program = shutil.copy(outbox_test.PROGRAM, self.path("outboxd"))
        shutil.copytree(outbox_test.PLUGIN_DIR, self.path("plugins"))
        self.write("outboxd.ini", self.read("outboxd.ini").replace(outbox_test.PLUGIN_DIR, self.path("plugins")), 0o600)
        for name in (".", *os.listdir(self.dir)):
            if name != "setpriv":
                os.chown(self.path(name), nobody, nobody)
        done = subprocess.run(["setpriv", "--reuid", str(nobody), "--regid", str(nobody), "--clear-groups",
                               program, "run", "--once", "--wait", "2s", "-c", self.path("outboxd.ini")],
                              capture_output=True, text=True, timeout=outbox_test.PATIENCE, check=False,
                              env={name: value for name, value in os.environ.items() if name not in ("LSAN_OPTIONS", "TSAN_OPTIONS")})
        left = re.search(r"with pid (\d+) did not end", done.stderr)
        if not left and "timed out" not in done.stderr and "must be superuser" in done.stderr:
            self.skipTest("set-user-ID programs have no effect here")
        self.assertTrue(left, done.stderr)
        os.kill(int(left.group(1)), signal.SIGKILL)
        self.assertEqual(done.returncode, 1)
        self.assertIn("do not end although they were killed", done.stderr)
        self.assertEqual([(self.row(i)["status"], self.row(i)["retries"]) for i in ids], [("pending", 1), ("pending", 0)])


if __name__ == "__main__":
    outbox_test.main()
