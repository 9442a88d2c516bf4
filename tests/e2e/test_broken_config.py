# SPDX-License-Identifier: Apache-2.0
"""Broken configurations and what is said about them: every NAME.ini of broken-config has the
expected output beside it. OUTBOX_TEST_UPDATE=1 writes what is said now, to be read by a person."""

import os
import shutil
import stat

import outbox_test

FOLDER = os.path.join(outbox_test.SRCDIR, "tests", "e2e", "broken-config")


class BrokenConfig(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        # Messages list the plugins that are there; those that the configurations are about.
        self.plugins = self.path("plugins")
        os.mkdir(self.plugins)
        for module in ("store-sqlite.so", "pub-exec.so"):
            shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, module), self.plugins)

    def check(self, name):
        with open(os.path.join(FOLDER, name + ".ini"), "rb") as f:
            text = f.read().replace(b"@PLUGIN_DIR@", self.plugins.encode())
        path = self.write(name + ".ini", text, 0o600)
        done = self.outboxd("check", code=None, config=path)
        said = (done.stdout + done.stderr).replace(path, "FILE").replace(self.plugins, "PLUGIN_DIR")
        return "exit %d\n%s" % (done.returncode, said)

    def test_secrets_and_files_are_guarded(self):
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n")
        path = self.path("outboxd.ini")
        os.chmod(path, 0o644)  # it holds no secret
        self.outboxd("check")
        os.chmod(path, 0o646)
        for command in (["check"], ["run"], ["status"], ["plugins"]):
            self.assertIn("outboxd.ini: can be written by others (mode 0646), who could name programs",
                          self.outboxd(*command, code=2).stderr)
        if os.geteuid() == 0:
            os.chmod(path, 0o664)  # the group of the owner's own name is nobody else
            self.outboxd("check")
            os.chown(path, -1, 65534)
            self.assertIn("can be written by others (mode 0664)", self.outboxd("check", code=2).stderr)
        os.unlink(path)
        os.mkdir(path)
        self.assertIn("is not a regular file", self.outboxd("check", code=2).stderr)
        os.rmdir(path)
        os.mkfifo(path)
        self.assertIn("is not a regular file", self.outboxd("check", code=2).stderr)
        self.assertTrue(stat.S_ISFIFO(os.stat(path).st_mode))
        os.truncate(self.write("big.ini", "; x\n"), (16 << 20) + 1)
        self.assertIn("is longer than 16M", self.outboxd("check", code=2, config=self.path("big.ini")).stderr)


def add(name):
    def test(self):
        said = self.check(name)
        expected = os.path.join(FOLDER, name + ".expected")
        if os.environ.get("OUTBOX_TEST_UPDATE"):
            with open(expected, "w", encoding="utf-8") as f:
                f.write(said)
        with open(expected, encoding="utf-8") as f:
            self.assertEqual(said, f.read())
    setattr(BrokenConfig, "test_" + name.replace("-", "_"), test)


for ini in sorted(os.listdir(FOLDER)):
    if ini.endswith(".ini"):
        add(ini[:-4])


if __name__ == "__main__":
    outbox_test.main()
