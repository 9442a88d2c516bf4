# SPDX-License-Identifier: Apache-2.0
"""What tests of the SDK share: the staged installation as an author has it, outside of this tree."""

import os
import re
import subprocess

import outbox_test

STAGE = os.path.join(outbox_test.BUILDDIR, "stage")


def _folder_of(name):
    (folder,) = [folder for folder, _, files in os.walk(STAGE) if name in files]
    return folder


class Sdk(outbox_test.Scratch):
    """A scratch folder, and an environment in which nothing of outboxd is in reach but what is installed."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("pkgconfig"))
        for name in ("outbox-plugin.pc", "outbox.pc"):
            with open(os.path.join(_folder_of(name), name), encoding="utf-8") as f:
                moved = re.sub("^prefix=", "prefix=" + STAGE, f.read(), flags=re.M)  # as if it was installed there
            self.write("pkgconfig/" + name, moved)
        os.mkdir(self.path("tmp"))
        self.env = {"PATH": os.path.dirname(outbox_test.PROGRAM) + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                    "PKG_CONFIG_LIBDIR": self.path("pkgconfig"), "HOME": self.path(""), "TMPDIR": self.path("tmp"),
                    "LC_ALL": "C.UTF-8"}

    def run_in(self, folder, *command, **kwargs):
        """Runs a command as the author would; returns what it wrote, and shows that if it fails."""
        done = subprocess.run(command, cwd=self.path(folder), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=10 * outbox_test.PATIENCE, **kwargs)
        self.assertEqual(done.returncode, 0, "%s\n%s" % (" ".join(command), done.stdout[-6000:]))
        return done.stdout

    def pkg_config(self, *args):
        return self.run_in("", "pkg-config", *args).split()

    def build(self, source, *flags, compiler="cc", output=None):
        self.run_in("", compiler, "-Wall", "-Wextra", "-Werror", *flags, *self.pkg_config("--cflags", "outbox-plugin"),
                    *(["-o", output] if output else ["-fsyntax-only"]), source)

    def module(self, source, output, *flags):
        """Compiles a plugin as it would be installed."""
        self.build(source, "-std=c11", "-shared", "-fPIC", "-pthread", "-Wl,-z,defs", *flags, output=output)
        os.chmod(output, 0o755)
