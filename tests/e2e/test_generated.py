# SPDX-License-Identifier: Apache-2.0
"""What `make update-docs` writes: it is up to date, the samples of a configuration work, and shells complete."""

import glob
import os
import re
import shutil
import subprocess
import sys
import unittest

import outbox_test
import shells

SRCDIR = outbox_test.SRCDIR
TABLES = os.path.join(outbox_test.BUILDDIR, "docs", "tables")
SHARE = os.path.join(os.path.dirname(os.path.dirname(outbox_test.PROGRAM)), "share")

# Values of options without which a section with all defaults makes no sense: tls_verify wants TLS, for example.
VALUES = {
    "store-postgres": {"conninfo": "host=localhost"},
    "store-sqlite": {"path": "shop.db"},
    "pub-amqp": {"url": "amqps://localhost", "exchange": "events", "routing_key": "{topic}"},
    "pub-exec": {"command": "/bin/cat"},
    "pub-http": {"url": "https://hooks.example/", "oauth2_token_url": "https://hooks.example/token", "oauth2_client_id": "relay",
                 "oauth2_client_secret": "open", "format": "cloudevents-batch",
                 "ce_source": "/shop"},
    "pub-kafka": {"url": "kafkas://relay@localhost", "password": "open"},
    "pub-mqtt": {"url": "mqtts://localhost"},
    "pub-nats": {"url": "tls://localhost"},
    "pub-postgres": {"conninfo": "host=localhost"},
    "pub-redis": {"url": "rediss://localhost"},
}


def read(*path):
    with open(os.path.join(SRCDIR, *path), encoding="utf-8") as f:
        return f.read()


def generate(srcdir, *args):
    command = [sys.executable, os.path.join(SRCDIR, "docs", "generate.py"), "--tables", TABLES, "--outboxd", outbox_test.PROGRAM,
               "--plugin-dir", outbox_test.PLUGIN_DIR, *args, srcdir]
    return subprocess.run(command, capture_output=True, text=True, timeout=outbox_test.PATIENCE)


class Files(outbox_test.Scratch):
    def test_they_are_what_the_tables_say(self):
        done = generate(SRCDIR, "--check")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("", "", 0))

    def copy_tree(self):
        for pattern in ("docs/*.[58]", "plugins/*/*.7", "etc/*", "etc/completion/*"):
            for path in glob.glob(os.path.join(SRCDIR, pattern)):
                if os.path.isfile(path):
                    to = self.path("tree", os.path.relpath(path, SRCDIR))
                    os.makedirs(os.path.dirname(to), exist_ok=True)
                    shutil.copyfile(path, to)
        return self.path("tree")

    def test_one_that_differs_is_named_and_can_be_made_again(self):
        tree = self.copy_tree()
        for name, old, new in (("docs/outboxd.ini.5", "workers No = 2", "workers No = 3"),
                               ("plugins/pub-exec/outboxd-pub-exec.7", "timeout No = 10s", "timeout No = 11s"),
                               ("etc/outboxd.ini.sample", "workers = 2", "workers = 3"),
                               ("etc/completion/outboxd.bash", "--once", "--twice"),
                               ("etc/completion/_outboxd", "--once", "--twice"),
                               ("etc/completion/outboxd.fish", "-l once", "-l twice")):
            right = read(name)
            self.assertIn(old, right)
            self.write(os.path.join("tree", name), right.replace(old, new))
            done = generate(tree, "--check")
            self.assertEqual(done.returncode, 1, done)
            self.assertEqual(done.stdout, name + " is not what the tables say; run `make update-docs`\n")
            self.assertEqual(generate(tree).stdout, "wrote %s\n" % name)
            self.assertEqual(self.read(os.path.join("tree", name)), right)

    def test_the_part_of_a_plugin_that_is_not_built_stays(self):
        few = self.path("few")
        os.mkdir(few)
        shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), few)
        done = generate(self.copy_tree(), "--check", "--plugin-dir", few)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("", "", 0))

    def test_a_page_of_somebody_elses_plugin_gets_its_list(self):
        right = read("plugins", "pub-exec", "outboxd-pub-exec.7")
        empty = re.sub(r'(?ms)^(\.\\" begin options pub-exec\n).*?(?=^\.\\" end options)', r"\1", right)
        self.assertNotIn("pass_env", empty.split(".Sh MODE")[0])
        page = self.write("outboxd-pub-exec.7", empty)
        done = subprocess.run([sys.executable, os.path.join(SRCDIR, "docs", "generate.py"), "--outboxd", outbox_test.PROGRAM,
                               "--plugin-dir", outbox_test.PLUGIN_DIR, "--plugin", page], check=True, capture_output=True, text=True)
        self.assertEqual(done.stdout, "wrote %s\n" % page)
        self.assertEqual(self.read(page), right)

    def test_every_table_has_its_list(self):
        pages = {name: read("plugins", name, "outboxd-%s.7" % name) for name in VALUES}
        self.assertEqual(set(VALUES), {os.path.basename(os.path.dirname(p)) for p in glob.glob(os.path.join(SRCDIR, "plugins/*/*.7"))})
        for name, page in pages.items():
            self.assertRegex(page, r'\.\\" begin options %s\n\.Bl .*\n\.It ' % name)
        for section in ("relay", "store", "publisher NAME", "route NAME", "router", "log"):
            self.assertRegex(read("docs", "outboxd.ini.5"), r'\.\\" begin options %s\n\.Bl .*\n\.It ' % section)


class Sample(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.sample = read("etc", "outboxd.ini.sample").splitlines()

    def check(self, lines, code):
        """The mistakes by line, 0: of the whole."""
        path = self.write("outboxd.ini", "\n".join(lines) + "\n", 0o600)
        done = self.outboxd("check", code=code, config=path)
        found = re.findall(r"^%s:(?:(\d+): )?(.*)$" % re.escape(path), done.stderr, re.M)
        return [(int(line or 0), text) for line, text in found]

    def uncomment(self, plugins, values=None):
        """The sample with the blocks of these plugins, and of the core. With `values`, the options that have a value."""
        lines, name = [], None
        for line in self.sample:
            title = re.match(r"# ---- (?:outboxd-)?(\S+?)(?:\(7\)| NAME\]|\])? ", line)
            if title:
                name = title.group(1).lstrip("[")
            option = re.match(r";(\S+) =(.*)$", line)
            given = (values or {}).get(name, {}).get(option.group(1)) if option else None
            is_out = name and re.match("(store|pub)-", name) and name not in plugins
            if is_out or (values is not None and name == "route") or not line.startswith(";"):
                lines.append("" if is_out else line)
            elif given is not None:
                lines.append("%s = %s" % (option.group(1), given))
            elif values is None or not option or option.group(2):
                lines.append(line[1:])
            else:
                lines.append(line)
            if line == "[relay]":
                lines.append("plugin_dir = " + outbox_test.PLUGIN_DIR)
            if line == "[router]" and values is not None:
                lines.append("fallback = " + plugins[-1][len("pub-"):])
        return lines

    def test_as_it_stands_it_says_what_is_missing(self):
        mistakes = self.check(self.sample, 2)
        self.assertEqual([line for line, _ in mistakes], [1, 1])
        self.assertIn("[store]", mistakes[0][1])
        self.assertIn("[publisher", mistakes[1][1])

    def test_every_option_is_known(self):
        built = {name for name in VALUES if os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, name + ".so"))}
        publishers = {name for name in built if name.startswith("pub-")}
        for store in built - publishers:
            lines = [line for line in self.uncomment({store, *publishers}) if line != "plugin_dir ="]
            lines = [line.replace("NAME = VALUE", "linger.ms = 1").replace(".NAME =", ".x =") for line in lines]
            mistakes = self.check(lines, 2)
            for line, text in mistakes:
                self.assertNotIn("unknown", text, lines[line - 1])
                # one with a default has no mistake
                self.assertNotRegex(lines[line - 1], r"^\w+ = .", text)
            n_options = sum(bool(re.match(r"[\w.]+ =", line)) for line in lines)
            self.assertGreater(n_options, 150 if len(built) == len(VALUES) else 20)

    def test_each_block_works(self):
        for name in VALUES:
            if not os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, name + ".so")):
                continue
            pair = [name, "pub-exec"] if name.startswith("store-") else ["store-sqlite", name]
            with self.subTest(plugin=name):
                self.assertEqual(self.check(self.uncomment(pair, VALUES), 0), [])

    def test_the_minimal_one_relays(self):
        text = read("etc", "outboxd.ini.minimal")
        changed = text.replace("/var/lib/outboxd/outbox.db", self.path("outbox.db"))
        changed = changed.replace("/usr/bin/logger -t outbox", "/usr/bin/tee -a " + self.path("out"))
        self.assertEqual(sum(a != b for a, b in zip(text.splitlines(), changed.splitlines())), 2)
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n%s" % (outbox_test.PLUGIN_DIR, changed), 0o600)
        self.outboxd("check")
        self.outboxd("init")
        self.outboxd("send", "--topic", "hello", "world")
        self.outboxd("run", "--once")
        self.assertEqual(self.read("out"), "world")


@unittest.skipUnless(shells.is_there(), "bash-completion, zsh or fish is missing (Debian: bash-completion zsh fish)")
class Completion(outbox_test.Scratch):
    def offered(self, line):
        where = {"share": SHARE, "program": outbox_test.PROGRAM, "cwd": self.dir}
        # bash and zsh quote what they insert
        return {name: {word.replace("\\", "") for word in offer(line, **where)} for name, offer in shells.SHELLS.items()}

    def assert_offered(self, line, words):
        for name, offered in self.offered(line).items():
            self.assertEqual(offered, set(words), "%s: %s" % (name, line))

    def help_of(self, *args):
        return subprocess.run([outbox_test.PROGRAM, *args, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout

    def commands(self):
        return re.findall(r"(?m)^  ([a-z]+) ", self.help_of().split("Commands:")[1])

    def test_commands(self):
        self.assertGreater(len(self.commands()), 10)
        self.assert_offered("outboxd ", [*self.commands(), "help"])
        self.assert_offered("outboxd ru", ["run"])
        self.assert_offered("outboxd -c some.ini ru", ["run"])
        self.assert_offered("outboxd help pl", ["plugins"])
        self.assert_offered("outboxd nonsense ", [])

    def test_options_of_every_command(self):
        for command in self.commands():
            options = set(re.findall(r"--[a-z-]+", re.sub(r"(?m)^ {20,}.*", "", self.help_of(command)))) - {"--"}
            for name, offered in self.offered("outboxd %s --" % command).items():
                self.assertEqual(offered, {"--config", "--help", "--usage", "--version"} | options, "%s: %s" % (name, command))

    def test_values(self):
        for line in ("outboxd list --status ", "outboxd list -s ", "outboxd -c some.ini list --json --status "):
            self.assert_offered(line, ["pending", "processing", "processed", "failed"])
        self.assert_offered("outboxd purge --status ", ["processed", "failed"])
        self.assert_offered("outboxd status --fail-if ", ["pending>", "delayed>", "processing>", "failed>", "oldest>", "no-relay",
                                                          "paused"])
        self.assert_offered("outboxd status --fail-if o", ["oldest>"])
        self.assert_offered("outboxd list --limit ", [])
        self.assert_offered("outboxd send --topic ", [])

    def test_files_and_folders(self):
        self.write("shop.ini", "")
        os.mkdir(self.path("shop-plugins"))
        self.assert_offered("outboxd check --config shop.", ["shop.ini"])
        self.assert_offered("outboxd -c shop.", ["shop.ini"])
        for offered in self.offered("outboxd plugins --plugin-dir sho").values():
            self.assertEqual({word.rstrip("/") for word in offered}, {"shop-plugins"})

    def test_names_of_plugins_are_those_of_the_folder(self):
        folder = self.path("few")
        os.mkdir(folder)
        for module in ("store-sqlite.so", "pub-exec.so"):
            shutil.copy(os.path.join(outbox_test.PLUGIN_DIR, module), folder)
        self.write("few.ini", "[relay]\nplugin_dir = %s\n" % folder)
        for line in ("outboxd plugins --plugin-dir few ", "outboxd plugins -D few ", "outboxd plugins -c few.ini ",
                     "outboxd -c few.ini plugins ", "outboxd --config few.ini plugins "):
            for name, offered in self.offered(line).items():
                self.assertEqual({word for word in offered if not word.startswith("-")}, {"sqlite", "exec"}, "%s: %s" % (name, line))


if __name__ == "__main__":
    outbox_test.main()
