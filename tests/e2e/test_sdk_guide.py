# SPDX-License-Identifier: Apache-2.0
"""The author's guide and outbox-plugin(3): what they show compiles and runs, with the installed SDK."""

import os
import re
import signal

import outbox_test
import sdk_test

DOCS = os.path.join(outbox_test.SRCDIR, "docs")
EXAMPLES = os.path.join(outbox_test.SRCDIR, "sdk", "examples")
PREAMBLE = ("#include <outbox/plugin.h>\n#include <outbox/template.h>\n#include <outbox/url.h>\n#include <outbox/wait.h>\n"
            "#include <stdlib.h>\n")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def blocks(text, language):
    """The blocks ```language of a Markdown text: (line, the rest of the first line, the block)."""
    return [(text[:found.start()].count("\n") + 1, found.group(1).strip(), found.group(2))
            for found in re.finditer(r"^```%s\b([^\n]*)\n(.*?)^```$" % re.escape(language), text, re.M | re.S)]


class Guide(sdk_test.Sdk):
    def setUp(self):
        super().setUp()
        self.guide = read(DOCS, "plugin-author-guide.md")

    @staticmethod
    def end_server(pid_file):
        try:
            with open(pid_file, encoding="ascii") as f:
                os.killpg(int(f.read()), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass

    def test_its_snippets_compile(self):
        # Functions that are shown are not called.
        flags = ["-Wno-unused-function", "-Wno-unused-variable"]
        compiled = 0
        for line, how, block in blocks(self.guide, "c"):
            if how.startswith("from "):
                name = how.split()[1]
                self.assertIn(block, read(EXAMPLES, name[:-len(".c")], name), "guide line %d" % line)
                continue
            source = self.write("guide-%d.c" % line, PREAMBLE + '#line %d "plugin-author-guide.md"\n' % (line + 1) + block)
            for standard in ("-std=c99", "-std=c11"):
                self.build(source, standard, "-pedantic", *flags)
            self.assertEqual(how, "c++")
            self.build(source, "-std=c++20", "-x", "c++", *flags, compiler="g++")
            compiled += 1
        self.assertGreaterEqual(compiled, 5)

    def test_its_commands_lead_to_a_publisher_that_relays(self):
        shown = [block for _, _, block in blocks(self.guide, "sh")]
        self.assertGreaterEqual(len(shown), 5)
        # The installation is that of the tests, which nobody may write to.
        shown = [block.replace("make install", "make install DESTDIR=$PWD/root").replace(
            "outboxd plugins mine", "outboxd plugins --plugin-dir $PWD mine") for block in shown]
        # Each block begins where the one before has ended, but the one of debugging in the folder above.
        script = "set -eux\n" + "\n".join(shown[:-1]) + "\ncd ..\n" + shown[-1]
        self.addCleanup(self.end_server, self.path("pub-mine", "tests", "server.pid"))
        said = self.run_in("", "sh", "-c", script)
        for expected in ("pub-mine conforms to level 2", "publisher out: ok", "processed", "pub-mine conforms to level 4",
                         "answer_timeout = 5s", "\naccepted"):
            self.assertIn(expected, said)
        arrived = self.read("pub-mine/tests/arrived").split()
        self.assertEqual(len(arrived), 2, arrived)
        self.assertEqual(arrived[1], "try-1")

    def test_its_stream_program_relays(self):
        ((_, _, program),) = blocks(self.guide, "python")
        self.write("to-events", program, 0o755)
        ((_, _, section),) = blocks(self.guide, "ini")
        self.config(section.replace("/usr/lib/shop/to-events", self.path("to-events")) + "working_directory = %s\n" % self.dir,
                    router="[router]\nfallback = events\n")
        self.outboxd("init")
        message_id = self.outboxd("send", "--topic", "t", "hello").stdout.strip()
        self.outboxd("run", "--once")
        self.assertEqual(self.read("stream.out"), message_id + " hello\n")

    def test_the_manual_page_has_a_plugin_that_loads(self):
        page = read(DOCS, "outbox-plugin.3")
        (source,) = re.findall(r"^\.Bd -literal\n(#include.*?)^\.Ed$", page, re.M | re.S)
        source = self.write("rule-always.c", source)
        self.build(source, "-std=c99", "-pedantic")
        self.module(source, self.path("rule-always.so"))
        self.assertIn("then", self.run_in("", "outboxd", "plugins", "--plugin-dir", self.dir, "always"))

    def test_the_manual_page_has_each_operation_by_the_same_five_lines(self):
        page = read(DOCS, "outbox-plugin.3")
        headers = "".join(read(outbox_test.SRCDIR, "sdk", "include", "outbox", name) for name in
                          ("abi.h", "publisher.h", "store.h", "rule.h"))
        shown = {}
        for heading, text in re.findall(r"^\.Ss (.*)\n((?:(?!\.S[sh]).*\n)*)", page, re.M):
            for name in heading.split(", "):
                shown[name] = re.findall(r"^\.It Em (\w+)$", text, re.M)
        # A callback of the caller's own, and the lookup of drafts of a descriptor, are no operations.
        for name in set(re.findall(r"\(\*(\w+)\)\(", headers)) - {"run", "outbox_plugin_fn"}:
            self.assertEqual(shown.get(name), ["when", "thread", "time", "ownership", "errors"], name)

    def test_the_register_has_the_plugins_of_the_tree(self):
        register = read(DOCS, "plugins.md")
        for name in os.listdir(os.path.join(outbox_test.SRCDIR, "plugins")):
            if re.match("(pub|store|rule)-", name):
                self.assertIn("| `%s` |" % name, register)


if __name__ == "__main__":
    outbox_test.main()
