# SPDX-License-Identifier: Apache-2.0
"""Plugins that are broken, each in its own way, are refused with a message that says how; older and
newer ones that fit are taken."""

import os
import shutil
import signal

import outbox_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")

BROKEN = {
    "entry": "is not a plugin of outboxd: it has no function outbox_plugin_v1",
    "null": "its entry function returned NULL",
    "short": "its descriptor says size = 16, less than the 72 bytes of ABI 1.0",
    "many": "its descriptor says n_options = 1000000, and a plugin has at most 1000",
    "stride": "its descriptor says option_stride = 0, which is not the size of an option (56 to 4096 bytes",
    "flags": "declares the option `shade` with flags (0x8000) that this outboxd does not know",
    "required": "declares the option `shade`, which is required, yet has a default",
    "kind": "is a store, not a publisher",
    "major": "is built for plugin ABI 2, and this outboxd has 1.0",
    "minor": "needs plugin ABI 1.99, and this outboxd has 1.0: upgrade outboxd",
    "operation": "lacks the operation `publish`, or `submit` and `collect`",
    "unresolved": "undefined symbol: nobody_has_this_function",
    "misnamed": "calls itself `other`, not `misnamed` as its file does",
    "twice": "declares the option `level` twice",
    "default": "declares the option `delay` with a bad default: `ten` cannot be read",
    "reserved": "declares the option `workers`, a name that is reserved",
}


class Folder(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.folder = self.path("plugins")
        os.mkdir(self.folder, 0o755)
        shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), self.folder)

    def install(self, name):
        path = os.path.join(self.folder, "pub-%s.so" % name)
        shutil.copy(os.path.join(FIXTURES, "pub-%s.so" % name), path)
        os.chmod(path, 0o755)
        return path

    def use(self, name):
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n"
                   "[publisher out]\nplugin = %s\n[router]\nfallback = out\n" % (self.folder, self.path("x.db"), name), 0o600)

    def refused(self, name, message):
        self.use(name)
        said = self.outboxd("check", code=2).stderr
        self.assertIn("outboxd.ini:7: ", said)
        self.assertIn(message, said)
        self.assertIn(message, self.outboxd("plugins", name, code=1).stderr)


class BrokenPlugins(Folder):
    def test_a_file_that_is_no_module_is_refused(self):
        path = os.path.join(self.folder, "pub-text.so")
        with open(path, "w", encoding="ascii") as f:
            f.write("this is no module\n")
        os.chmod(path, 0o755)
        self.refused("text", "cannot be loaded: ")
        os.truncate(path, 0)
        self.refused("text", "cannot be loaded: ")

    def test_a_folder_or_file_that_others_can_write_is_refused(self):
        path = self.install("sound")
        self.use("sound")
        self.outboxd("check")
        if os.geteuid() == 0:
            os.chmod(self.folder, 0o775)  # the group of the owner's own name is nobody else
            self.outboxd("check")
            os.chown(self.folder, -1, 65534)
            self.refused("sound", self.folder + " can be written by others")
            os.chown(self.folder, -1, 0)
        os.chmod(self.folder, 0o777)
        self.refused("sound", "can be written by others, who could replace plugins; take that away (chmod go-w)")
        os.chmod(self.folder, 0o1777)  # a sticky bit protects what is above, not the folder itself
        self.refused("sound", self.folder + " can be written by others")
        os.chmod(self.folder, 0o755)
        os.chmod(path, 0o666)
        self.refused("sound", "pub-sound.so can be written by others")
        os.chmod(path, 0o755)
        os.chmod(self.dir, 0o777)
        self.refused("sound", self.dir + " can be written by others")
        os.chmod(self.dir, 0o700)
        self.outboxd("check")

    def test_what_belongs_to_somebody_else_is_refused(self):
        if os.geteuid() != 0:
            return  # only root can give a folder away
        path = self.install("sound")
        self.use("sound")
        for what in (path, self.folder, self.dir):
            os.chown(what, 65534, -1)
            self.refused("sound", what + " belongs to user 65534, who could replace plugins")
            os.chown(what, 0, -1)
        self.outboxd("check")

    def test_a_link_is_judged_by_the_folder_it_leads_to(self):
        self.use("sound")
        link = os.path.join(self.folder, "pub-sound.so")
        # also one below the plugins' folder, and one whose name only begins like it
        for place in (self.path("elsewhere"), os.path.join(self.folder, "below"), self.folder + "-old"):
            os.mkdir(place, 0o755)
            target = shutil.copy(os.path.join(FIXTURES, "pub-sound.so"), os.path.join(place, "any.so"))
            os.chmod(target, 0o755)
            os.symlink(target, link)
            self.outboxd("check")
            os.chmod(place, 0o777)
            self.refused("sound", place + " can be written by others")
            os.unlink(link)

    def test_a_bad_name_is_refused(self):
        for name in ("../pub-sound", "Sound", "a_b", "x" * 64):
            self.use(name)
            self.assertIn("cannot be a plugin's name", self.outboxd("check", code=2).stderr)

    def test_no_environment_variable_chooses_the_plugin(self):
        self.use("sound")
        os.environ["LTDL_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"] = FIXTURES
        try:
            self.assertIn("there is no publisher plugin `sound`", self.outboxd("check", code=2).stderr)
        finally:
            del os.environ["LTDL_LIBRARY_PATH"], os.environ["LD_LIBRARY_PATH"]

    def test_sound_older_and_newer_plugins_work(self):
        for name in ("sound", "old", "future"):
            self.install(name)
            self.use(name)
            self.outboxd("init")
            self.outboxd("send", "--topic", "t")
            self.assertIn("published 1", self.outboxd("run", "--once").stdout)
            os.unlink(self.path("x.db"))

    def test_what_a_plugin_warns_of_is_shown_by_check(self):
        self.install("warning")
        self.use("warning")
        self.outboxd("init")
        done = self.outboxd("check", "--connect")
        self.assertRegex(done.stderr, r'level=warning msg="the left shoe is missing" instance="publisher out"')
        self.assertIn("publisher out: ok", done.stdout)

    def test_a_thread_that_a_plugin_left_behind_does_not_crash_the_end(self):
        with open(os.path.join(outbox_test.BUILDDIR, "config.h"), encoding="ascii") as f:
            if "#define EXIT_HANDLERS 1" in f.read():
                return  # sanitizers and coverage report there, and so it crashes
        self.install("thread")
        self.use("thread")
        self.outboxd("init")
        self.assertIn("ok", self.outboxd("check", "--connect").stdout)

    def test_a_broken_one_does_not_hide_the_others(self):
        for name in ("sound", "null"):
            self.install(name)
        done = self.outboxd("plugins", "--plugin-dir", self.folder, code=1, config=self.path("none"))
        self.assertIn("sound", done.stdout)
        self.assertIn("returned NULL", done.stderr)
        rows = self.outboxd_json("plugins", "--plugin-dir", self.folder, code=1, config=self.path("none"))
        self.assertEqual([(row["name"], "error" in row) for row in rows],
                         [("sqlite", False), ("null", True), ("sound", False)])


class Loaded(Folder):
    """`plugins` looks at each module in a process of its own."""

    # Sorted as the command does: each of them, and a sound one before and after.
    DEADLY = {"abort": "crashed (SIGABRT)", "hang": "did not come back within 10 s", "leave": "ended the process (exit 0)"}

    def test_one_that_crashes_hangs_or_exits_hides_no_other(self):
        for name in ("sound", *self.DEADLY):
            self.install(name)
        rows = self.outboxd_json("plugins", "--plugin-dir", self.folder, code=1, config=self.path("none"))
        self.assertEqual([row["name"] for row in rows], ["sqlite", "abort", "hang", "leave", "sound"])
        self.assertEqual({row["name"]: row["error"] for row in rows if "error" in row},
                         {name: "%s/pub-%s.so %s while it was loaded; the plugin is broken" % (self.folder, name, why)
                          for name, why in self.DEADLY.items()})

    def test_what_is_known_of_others_is_printed_without_json_too(self):
        for name in ("sound", "abort"):
            self.install(name)
        done = self.outboxd("plugins", "--plugin-dir", self.folder, code=1, config=self.path("none"))
        self.assertEqual([line.split()[1] for line in done.stdout.splitlines() if line[0] != " "], ["NAME", "sqlite", "sound"])
        self.assertEqual(done.stderr, "outboxd: %s/pub-abort.so crashed (SIGABRT) while it was loaded; the plugin is broken\n"
                         % self.folder)


    def test_a_crash_at_the_end_takes_no_output_along(self):
        self.install("close")
        self.use("close")
        self.outboxd("init")
        done = self.outboxd("check", "--connect", code=-signal.SIGABRT)
        self.assertEqual(done.stdout, "store: ok\npublisher out: ok\n")


class Options(Folder):
    """The fixture declares an option of each type."""

    def options(self, lines):
        self.install("options")
        self.use("options")
        text = self.read("outboxd.ini").replace("[router]", "url = u\npassword = x\n" + lines + "\n[router]")
        self.write("outboxd.ini", text, 0o600)

    def test_they_are_listed(self):
        self.install("options")
        said = self.outboxd("plugins", "--plugin-dir", self.folder, "options").stdout
        self.assertIn("client.* = \n    settings, may hold a secret\n    Settings of the client.\n", said)
        self.assertIn("spare = \n    publisher\n    Who else.\n", said)
        self.assertIn("hosts = \n    list, may hold a secret\n", said)
        (row,) = self.outboxd_json("plugins", "--plugin-dir", self.folder, "options")
        types = {option["name"]: option["type"] for option in row["options"]}
        self.assertEqual((types["client"], types["spare"]), ("settings", "publisher"))

    def test_what_a_plugin_refuses_is_told_with_its_line(self):
        self.options("count = 3\nclient.refused = y")
        self.outboxd("init")
        message = "outboxd.ini:11: publisher out: client.refused: not `y`\n"
        for command in (("check",), ("run", "--once")):
            self.assertTrue(self.outboxd(*command, code=2).stderr.endswith(message), command)

    def test_a_store_that_refuses_is_told_with_its_line(self):
        self.install("sound")
        self.use("sound")
        self.write("outboxd.ini", self.read("outboxd.ini").replace("[publisher", "table = 1x\n[publisher"), 0o600)
        for command in (("check",), ("run", "--once"), ("status",)):
            self.assertIn("outboxd.ini:6: store: table: `1x` cannot be", self.outboxd(*command, code=2).stderr)

    def test_a_publisher_that_is_named_has_to_be_there(self):
        self.options("spare = other")
        self.assertIn("outboxd.ini:10: spare: there is no [publisher other]", self.outboxd("check", code=2).stderr)
        self.options("spare = out")
        self.outboxd("check")


class Secrets(Folder):
    """The fixture declares a secret; what guards it belongs to the core."""

    def secret(self, line, mode=0o600):
        self.install("sound")
        self.use("sound")
        text = self.read("outboxd.ini").replace("[router]", line + "\n[router]")
        self.write("outboxd.ini", text, mode)

    def test_a_secret_in_a_file_that_others_read_is_refused(self):
        self.secret("password = hunter2")
        self.outboxd("check")
        self.secret("password = hunter2", 0o644)
        said = self.outboxd("check", code=2).stderr
        self.assertIn("outboxd.ini:8: password is a secret, but others can read this file (mode 0644)", said)
        self.assertNotIn("hunter2", said)

    def test_a_secret_may_be_in_a_file_of_its_own(self):
        path = self.write("secret", "hunter2\n", 0o600)
        self.secret("password_file = " + path, 0o644)
        self.outboxd("check")
        os.chmod(path, 0o604)
        self.assertIn("others can read it (mode 0604)", self.outboxd("check", code=2).stderr)
        self.write("secret", "", 0o600)
        self.assertIn("is empty", self.outboxd("check", code=2).stderr)
        os.unlink(path)
        self.assertIn("No such file", self.outboxd("check", code=2).stderr)

    def test_what_an_editor_adds_to_a_secret_is_told(self):
        path = self.path("secret")
        self.secret("password_file = " + path)
        for text, why in (("hunter2\r\n", "ends in a carriage return"), ("hunter2\n\n", "has more than one newline"),
                          ("hunter2 \n", "begins or ends with a blank"), ("\ufeffhunter2\n", "begins with a byte order mark")):
            self.write("secret", text, 0o600)
            said = self.outboxd("check", code=2).stderr
            self.assertIn("outboxd.ini:8: password_file: %s %s" % (path, why), said)
            self.assertNotIn("hunter2", said)
        os.unlink(path)
        os.mkfifo(path)
        self.assertIn("is not a regular file", self.outboxd("check", code=2).stderr)

    def test_not_both(self):
        path = self.write("secret", "hunter2\n", 0o600)
        self.secret("password = x\npassword_file = " + path)
        self.assertIn("password_file and password (line 8) are both set", self.outboxd("check", code=2).stderr)


def add(name, message):
    def test(self):
        self.install(name)
        self.refused(name, message)
    setattr(BrokenPlugins, "test_%s_is_refused" % name, test)


for fixture, text in BROKEN.items():
    add(fixture, text)



if __name__ == "__main__":
    outbox_test.main()
