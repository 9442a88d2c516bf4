# SPDX-License-Identifier: Apache-2.0
"""outbox-new-plugin: what it makes builds with nothing but the installed SDK, in all its ways, and passes the kit as it comes."""

import os
import re
import shutil
import stat
import subprocess

import outbox_test
import sdk_test

TOOLS = ("autoreconf", "libtoolize", "meson", "ninja", "make")


class Template(sdk_test.Sdk):
    def new(self, kind, name="mine", *folder):
        return self.run_in("", "outbox-new-plugin", kind, name, *folder)

    def refused(self, *args):
        done = subprocess.run(["outbox-new-plugin", *args], cwd=self.dir, env=self.env, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        return done.stdout + done.stderr

    def goes_all_ways(self, kind):
        missing = [tool for tool in TOOLS if not shutil.which(tool, path=self.env["PATH"])]
        if missing:
            self.skipTest("%s is missing; scripts/deps.sh --services installs it" % ", ".join(missing))
        self.new(kind)
        folder = "%s-mine" % kind
        said = self.run_in(folder, "./ci.sh")
        built = [os.path.join(where, name) for where, _, names in os.walk(self.path(folder)) for name in names
                 if name == folder + ".so" and not where.endswith("T")]
        self.assertEqual(len(built), 3, built)  # make, autotools, meson
        for module in built:
            names = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
            self.assertEqual([line.split()[-1] for line in names.splitlines()], ["outbox_plugin_v1"])
        self.assertRegex(said, r"%s conforms to level [2-5]" % folder)
        self.assertNotRegex(said, r"(?m)^not ok")

    def test_a_publisher_builds_in_all_ways_and_conforms(self):
        self.goes_all_ways("pub")

    def test_a_store_builds_in_all_ways_and_conforms(self):
        self.goes_all_ways("store")

    def test_a_rule_builds_in_all_ways_and_conforms(self):
        self.goes_all_ways("rule")

    def test_all_of_it_is_filled_in(self):
        for kind in ("pub", "store", "rule"):
            self.new(kind, "two-words", "folder-" + kind)
            for where, _, names in os.walk(self.path("folder-" + kind)):
                for name in names:
                    with open(os.path.join(where, name), encoding="utf-8") as f:
                        self.assertIsNone(re.search(r"@[a-zA-Z]+@", f.read()), name)
            for script in ("test.sh", "ci.sh"):
                self.assertTrue(os.stat(self.path("folder-" + kind, script)).st_mode & stat.S_IXUSR)
            self.run_in("folder-" + kind, "make")
            self.assertIn("two-words", self.run_in("folder-" + kind, "outboxd", "plugins", "--plugin-dir", ".", "two-words"))

    def test_make_install_puts_it_where_outboxd_looks(self):
        self.new("pub")
        self.run_in("pub-mine", "make", "install", "DESTDIR=" + self.path("root"))
        (plugin_dir,) = self.pkg_config("--variable=plugindir", "outbox-plugin")
        self.assertTrue(os.path.exists(self.path("root") + plugin_dir + "/pub-mine.so"))
        self.run_in("pub-mine", "make", "uninstall", "DESTDIR=" + self.path("root"))
        self.assertEqual([names for _, _, names in os.walk(self.path("root")) if names], [])

    def test_what_cannot_be_made_is_refused(self):
        self.assertIn("NAME has lower-case letters", self.refused("pub", "Mine"))
        self.assertIn("NAME has lower-case letters", self.refused("sink", "mine"))
        self.assertIn("NAME has lower-case letters", self.refused("pub", "../mine"))
        os.mkdir(self.path("pub-mine"))
        self.assertIn("pub-mine is there already", self.refused("pub", "mine"))

    def try_it(self, kind, *arguments):
        return subprocess.run(["./try", *arguments], cwd=self.path(kind + "-mine"), env=self.env, input="hello\n",
                              capture_output=True, text=True, timeout=outbox_test.PATIENCE)

    def test_a_host_in_one_file_refuses_what_outboxd_does(self):
        self.new("pub")
        self.run_in("pub-mine", "make", "try")
        for arguments, said in (([], "socket=VALUE is required\n"),
                                (["socket=a", "sockt=b"], "sockt=b: no option of this plugin, or no NAME=VALUE\n")):
            done = self.try_it("pub", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (2, said, ""))

    def test_a_host_in_one_file_runs_each_kind_under_sanitizers(self):
        for kind, arguments, said in (("pub", ["socket=none.sock"], "publish: -1 none.sock: No such file"), ("store", [], "claimed 1"),
                                      ("rule", ["field=a", "value=b", "then=out"], "the next route decides")):
            self.new(kind)
            self.run_in(kind + "-mine", "make", "try")
            done = self.try_it(kind, *arguments)
            self.assertIn(said, done.stdout, done)
            self.assertEqual((done.returncode, done.stderr), (1 if kind == "pub" else 0, ""), done)


if __name__ == "__main__":
    outbox_test.main()
