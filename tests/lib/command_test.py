# SPDX-License-Identifier: Apache-2.0
"""A shop with two publishers and two routes: the ground of the commands' tests."""

import subprocess

import outbox_test

# What must not reach a terminal.
UNFIT = "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u202e]"


class Commands(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n"
                    "[publisher mail]\nplugin = exec\ncommand = /bin/true\n",
                    router="[route invoices]\ntopic = invoice.*\nheader.tier = gold\npublisher = mail\n"
                           "[route by-destination]\nheader = destination\nto.post = mail\n[router]\nfallback = out\n")

    def init(self):
        self.outboxd("init")

    def run_bare(self, *args, code=0):
        done = subprocess.run([outbox_test.PROGRAM, *args], capture_output=True, timeout=outbox_test.PATIENCE)
        self.assertEqual(done.returncode, code, done)
        return done.stdout.decode(), done.stderr.decode()
