# SPDX-License-Identifier: Apache-2.0
"""The plugin author's way: only the installed headers and pkg-config."""

import os
import re
import shutil
import subprocess
import unittest

import combination
import outbox_test
import sdk_test
from sdk_test import STAGE

# What each compiler is asked to complain about; those that are not installed are left out.
WARNINGS = {
    "gcc": ["-pedantic", "-Wall", "-Wextra", "-Wc++-compat"],
    "clang": ["-pedantic", "-Wall", "-Wextra"],
    "g++": ["-pedantic", "-Wall", "-Wextra", "-Wold-style-cast", "-Wzero-as-null-pointer-constant", "-Wuseless-cast",
            "-Wconversion", "-Wsign-conversion", "-Wcast-qual", "-Wcast-align"],
    # -Weverything warns of the language itself, too, and of what no C header can avoid
    "clang++": ["-Weverything", "-Wno-unknown-warning-option", "-Wno-c++98-compat", "-Wno-c++98-compat-pedantic", "-Wno-padded",
                "-Wno-unsafe-buffer-usage", "-Wno-reserved-identifier", "-Wno-pre-c++20-compat", "-Wno-switch-default", "-Wno-nrvo"],
}
STANDARDS = {"gcc": ("c99", "c11"), "clang": ("c99", "c11"), "g++": ("c++11", "c++20"), "clang++": ("c++20",)}


class Examples(sdk_test.Sdk):
    def test_pkg_config_says_where_plugins_go_and_links_nothing(self):
        self.assertEqual(self.pkg_config("--libs", "outbox-plugin"), [])
        self.assertEqual(self.pkg_config("--variable=abi_major", "outbox-plugin"), ["1"])
        self.assertEqual(self.pkg_config("--variable=abi_minor", "outbox-plugin"), ["0"])
        self.assertTrue(self.pkg_config("--variable=plugindir", "outbox-plugin")[0].endswith("/outboxd/plugins"))

    def relays_three(self, name, *flags):
        """An example that is a publisher: builds it, loads it, and returns the lines that it wrote, and those expected."""
        folder = self.path("plugins")
        os.mkdir(folder, 0o755)
        shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), folder)
        source = os.path.join(outbox_test.SRCDIR, "sdk", "examples", "pub-" + name, "pub-%s.c" % name)
        self.build(source, "-std=c99", "-pedantic")
        self.module(source, os.path.join(folder, "pub-%s.so" % name), *flags)
        self.db = self.path("shop.db")
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n[publisher out]\n"
                   "plugin = %s\npath = %s\n[router]\nfallback = out\n" % (folder, self.db, name, self.path("out")), 0o600)
        self.assertIn("path = ", self.outboxd("plugins", name).stdout)
        self.outboxd("init")
        ids = [self.outboxd("send", "--topic", "t", "number %d" % n).stdout.strip() for n in range(3)]
        self.outboxd("run", "--once")
        return self.read("out").splitlines(), ["%s number %d" % (i, n) for n, i in enumerate(ids)]

    def test_the_example_publisher_builds_and_relays(self):
        self.assertEqual(*self.relays_three("file"))

    def test_the_asynchronous_example_builds_and_relays(self):
        self.assertEqual(*self.relays_three("journal"))

    @outbox_test.unsanitized
    def test_the_example_publishers_conform(self):
        for name in ("file", "journal"):
            module = self.path("pub-%s.so" % name)
            self.module(os.path.join(outbox_test.SRCDIR, "sdk", "examples", "pub-" + name, "pub-%s.c" % name), module)
            self.write(name + ".ini", "[publisher out]\nplugin = %s\npath = %s\n[conform]\nscratch = yes\n"
                       "verify = grep -ao '^[^ ]*' %s\n" % (name, self.path("out-" + name), self.path("out-" + name)))
            self.assertIn("conforms to level 3",
                          self.run_in("", "outbox-conform", "-c", name + ".ini", "--level", "3", module))

    def compile(self, compiler, *args):
        done = subprocess.run([compiler, *WARNINGS[compiler], "-Werror", *args, *self.pkg_config("--cflags", "outbox-plugin")],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), (compiler, args))

    @staticmethod
    def compilers():
        return [compiler for compiler in WARNINGS if shutil.which(compiler)]

    def test_the_headers_are_clean_alone_and_in_both_languages(self):
        (folder,) = [flag[2:] for flag in self.pkg_config("--cflags", "outbox-plugin") if flag.startswith("-I")]
        headers = sorted(os.listdir(os.path.join(folder, "outbox")))
        self.assertIn("helpers.h", headers)
        libpq = subprocess.run(["pkg-config", "--cflags", "libpq"], capture_output=True, text=True).stdout.split()
        for compiler in self.compilers():
            suffix = "cc" if "++" in compiler else "c"
            for header in headers:
                source = self.write("header." + suffix, "#include <outbox/%s>\n" % header)
                posix = ["-D_DEFAULT_SOURCE"] if header == "client.h" and suffix == "c" else []  # as it says
                for standard in STANDARDS[compiler]:
                    self.compile(compiler, "-std=" + standard, "-fsyntax-only", *posix, *libpq, source)

    def test_the_example_needs_no_macro_of_its_author(self):
        source = os.path.join(outbox_test.SRCDIR, "sdk", "examples", "pub-file", "pub-file.c")
        for compiler in self.compilers():
            if "++" not in compiler:
                for standard in STANDARDS[compiler]:
                    self.compile(compiler, "-std=" + standard, "-Wno-c++-compat", "-fsyntax-only", source)

    def test_a_plugin_in_cxx_builds_without_a_warning_and_works(self):
        folder = self.path("plugins")
        os.mkdir(folder, 0o755)
        shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), folder)
        source = os.path.join(outbox_test.SRCDIR, "tests", "fixtures", "plugin.cc")
        module = os.path.join(folder, "pub-plugin.so")
        self.db = self.path("shop.db")
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n[publisher out]\n"
                   "plugin = plugin\ngreeting = hello\n[router]\nfallback = out\n" % (folder, self.db), 0o600)
        self.outboxd("init")
        for compiler in self.compilers():
            if "++" in compiler:
                self.compile(compiler, "-std=c++20", "-shared", "-fPIC", "-o", module, source)
                os.chmod(module, 0o755)
                self.outboxd("send", "--topic", "t")
                done = self.outboxd("run", "--once")
                self.assertIn("published 1", done.stdout, compiler)
                self.assertIn("hello", done.stderr, compiler)

    def library(self):
        (found,) = [os.path.join(folder, "liboutbox.so") for folder, _, files in os.walk(STAGE) if "liboutbox.so" in files]
        return found

    def build_against_library(self, name, *packages):
        """An example that uses liboutbox, or a file; returns the program."""
        source = os.path.join(outbox_test.SRCDIR, "sdk", "examples", name)
        program = self.path("program")
        libs = self.pkg_config("--libs", "outbox")
        rpath = [flag[2:] for flag in libs if flag.startswith("-L")]
        with open(os.path.join(outbox_test.BUILDDIR, "config.log"), encoding="utf-8") as f:
            sanitizer = [line.split("'")[1] for line in f if line.startswith("SAN_CFLAGS=")][0].split()
        others = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], check=True, capture_output=True,
                                text=True).stdout.split() if packages else []
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", *sanitizer, *self.pkg_config("--cflags", "outbox"), "-o", program,
                        source, *libs, *["-Wl,-rpath," + folder for folder in rpath], *others, "-pthread"], check=True)
        return program

    def test_the_embedding_example_relays_in_its_own_process(self):
        program = self.build_against_library("embed/embed.c", "sqlite3")
        self.db = self.path("shop.db")
        done = subprocess.run([program, self.db, outbox_test.PLUGIN_DIR], capture_output=True, text=True,
                              timeout=outbox_test.PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (0, "committed 16, relayed 16: mail 7, push 7, archive 2\n"), done)
        self.assertEqual(self.query("SELECT count(*) FROM orders"), [(16,)])
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(16,)])

    def test_the_testing_example_needs_no_database(self):
        done = subprocess.run([self.build_against_library("testing/testing.c")], capture_output=True, text=True,
                              timeout=outbox_test.PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (0, "ok\n"), done)

    def test_the_manual_page_has_a_program_that_writes_in_its_own_transaction(self):
        with open(os.path.join(outbox_test.SRCDIR, "docs", "liboutbox.3"), encoding="utf-8") as f:
            (source,) = re.findall(r"^\.Bd -literal\n(#include.*?)^\.Ed$", f.read(), re.M | re.S)
        # As mandoc shows it, and with the plugins of this build.
        source = source.replace("\\e", "\\").replace("outbox_store_open(NULL", 'outbox_store_open("%s"' % outbox_test.PLUGIN_DIR)
        program = self.build_against_library(self.write("order.c", source), "sqlite3")
        self.db = self.path("shop.db")
        self.query("CREATE TABLE orders (n)")
        done = subprocess.run([program], cwd=self.dir, capture_output=True, text=True, timeout=outbox_test.PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.query("SELECT n FROM orders"), [(1,)])
        self.assertEqual(self.query("SELECT topic, key, payload, status FROM outbox_messages"),
                         [("order.placed", "order-1", b'{"n":1}', "pending")])

    def test_a_program_that_saves_is_not_linked_with_the_reader_of_the_file(self):
        program = self.build_against_library("embed/embed.c", "sqlite3")
        needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        self.assertIn("liboutbox", needed)
        for library in ("ini_config", "collection", "ref_array", "basicobjects", "path_utils", "dhash"):
            self.assertNotIn("lib" + library, needed)
        daemon = subprocess.run(["ldd", outbox_test.PROGRAM], capture_output=True, text=True, check=True).stdout
        self.assertIn("libini_config", daemon) # or nothing would be shown

    @unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "store-postgres.so")),
                         "store-postgres is not built")
    @unittest.skipUnless(os.environ.get("OUTBOX_TEST_PG"), "OUTBOX_TEST_PG is not set; scripts/services.sh env sets it")
    def test_the_producing_example_writes_in_its_own_transaction(self):
        program = self.build_against_library("produce-postgres/produce.c", "libpq")
        store = combination.Postgres(self)
        self.addCleanup(store.close)
        conninfo = "%s options='-c search_path=%s'" % (store.conninfo, store.schema)
        done = subprocess.run([program, conninfo, outbox_test.PLUGIN_DIR], capture_output=True, text=True,
                              timeout=outbox_test.PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (0, "committed 16, rolled back 4\n"), done)
        db = store.connect()
        self.assertEqual(store.execute(db, "SELECT count(*) FROM orders"), [(16,)])
        self.assertEqual(store.execute(db, "SELECT count(*), count(DISTINCT key) FROM outbox_messages WHERE status = 'pending'"),
                         [(16, 16)])
        db.close()

    def test_the_library_exports_its_own_names_only(self):
        names = subprocess.run(["nm", "-D", "--defined-only", self.library()], capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1].split("@")[0] for line in names.splitlines()}
        self.assertIn("outbox_save", names)
        self.assertEqual({n for n in names if not n.startswith(("outbox_", "OUTBOX_"))}, set())
        with open(os.path.join(outbox_test.SRCDIR, "docs", "liboutbox.3"), encoding="utf-8") as f:
            manual = f.read()
        self.assertEqual({n for n in names if n.startswith("outbox_") and "\n.Fn %s " % n not in manual}, set())


if __name__ == "__main__":
    outbox_test.main()
