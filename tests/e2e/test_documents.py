# SPDX-License-Identifier: Apache-2.0
"""The documents: links of the tree's and of the installed ones lead somewhere, and manual pages are in order."""

import os
import re
import subprocess
import unittest

import outbox_test

GUIDES = {"README.md", "NEWS", "ARCHITECTURE.md", "SECURITY.md", "operator-guide.md", "production.md", "compared.md",
          "plugin-author-guide.md", "performance.md", "plugins.md", "postgres-roles.sql", "examples/embed.c",
          "examples/publisher.py", "examples/shop/shop.py", "examples/inbox/receiver.sql"}
# Of mdoc; further sections stand where they fit.
ORDER = ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO", "STANDARDS", "BUGS"]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def documents(top):
    """All Markdown below a folder, but that of build folders in it."""
    for folder, folders, names in os.walk(top):
        folders[:] = [f for f in folders if f != ".git" and not os.path.exists(os.path.join(folder, f, "config.status"))]
        yield from (os.path.join(folder, name) for name in names if name.endswith(".md"))


def prose(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```", "", text))


def anchors(text):
    """As forges make them of headings."""
    headings = re.findall(r"(?m)^#+ +(.*?) *$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path):
    text = read(path)
    for target in re.findall(r"\[[^\][]*\]\(([^()\s]*)\)", prose(text)):
        file, _, anchor = target.partition("#")
        place = os.path.join(os.path.dirname(path), file) if file else path
        if re.match("[a-z]+:", target):
            continue
        if not os.path.exists(place) or (anchor and anchor not in anchors(read(place))):
            yield "%s: %s" % (path, target)


class Links(unittest.TestCase):
    def test_those_of_the_tree_lead_somewhere(self):
        found = list(documents(outbox_test.SRCDIR))
        self.assertIn(os.path.join(outbox_test.SRCDIR, "docs", "operator-guide.md"), found)
        self.assertEqual([link for path in found for link in dead_links(path)], [])

    def test_those_of_installed_documents_lead_to_installed_ones(self):
        found = list(documents(outbox_test.DOCDIR))
        self.assertEqual({guide for guide in GUIDES if not os.path.exists(os.path.join(outbox_test.DOCDIR, guide))}, set())
        self.assertEqual([link for path in found for link in dead_links(path)], [])
        # What is left of links is no link by accident.
        readme = read(os.path.join(outbox_test.DOCDIR, "README.md"))
        self.assertIn("](operator-guide.md)", readme)
        self.assertNotIn("](docs/", readme)

    def test_links_are_fitted(self):
        script = os.path.join(outbox_test.SRCDIR, "docs", "fit-links.awk")
        text = ("[docs/a.md](docs/a.md#x), [it](../b.md), [no](tests/README.md), [c](https://c.example), [d](#d), x[i](y)\n"
                "```\n[it](docs/a.md)\n```\n")
        for document, expected in (
                ("README.md", "[a.md](a.md#x), it, no, [c](https://c.example), [d](#d), xi\n"),
                ("docs/a.md", "docs/a.md, [it](b.md), no, [c](https://c.example), [d](#d), xi\n")):
            fitted = subprocess.run(["awk", "-v", "document=" + document, "-v", "documents=README.md docs/a.md b.md", "-f", script],
                                    input=text, capture_output=True, text=True, check=True).stdout
            self.assertEqual(fitted, expected + text.partition("\n")[2])


class Manuals(unittest.TestCase):
    def setUp(self):
        self.pages = {}
        for folder, _, names in os.walk(outbox_test.MANDIR):
            for name in names:
                self.pages[name] = read(os.path.join(folder, name))
                self.assertEqual(os.path.basename(folder), "man" + name[-1], name)
        self.written = {name: text for name, text in self.pages.items() if not text.startswith(".so ")}

    def test_the_name_is_that_of_the_file(self):
        self.assertGreater(len(self.written), 20)
        for name, text in self.written.items():
            title, section = name.rsplit(".", 1)
            self.assertIn("\n.Dt %s %s\n" % (title.upper(), section), text, name)
            # What apropos(1) reads: one line each.
            self.assertRegex(text, r"\n\.Sh NAME\n\.Nm %s\n\.Nd [a-z][^\n]*[^.\n]\n\.Sh " % re.escape(title), name)

    def test_sections_have_their_order(self):
        for name, text in self.written.items():
            sections = re.findall(r"(?m)^\.Sh (.*)$", text)
            self.assertEqual([s for s in sections if s in ORDER], [s for s in ORDER if s in sections], name)
            self.assertIn("SEE ALSO", sections, name)
            self.assertIsNone(re.search(r"(?m)^\.Sh .*\n(?=\.Sh )", text), "%s has an empty section" % name)

    def test_references_to_pages_of_this_project_lead_to_one(self):
        n, there = 0, set(self.pages)
        for _, _, names in os.walk(os.path.join(outbox_test.SRCDIR, "plugins")): # those of plugins that are not built
            there.update(name for name in names if name.endswith(".7"))
        for name, text in self.written.items():
            for page, section in re.findall(r"(?m)^\.(?:It )?Xr (\S+) (\d)", text):
                if re.match("outbox|liboutbox", page):
                    n += 1
                    self.assertIn("%s.%s" % (page, section), there, name)
                self.assertNotEqual("%s.%s" % (page, section), name)
        self.assertGreater(n, 100)

    def test_each_page_is_referred_to(self):
        referred = set(re.findall(r"(?m)^\.(?:It )?Xr (\S+ \d)", "".join(self.written.values())))
        self.assertEqual({name for name in self.written if " ".join(name.rsplit(".", 1)) not in referred}, set())

    def test_each_function_of_the_library_has_a_page(self):
        functions = re.findall(r"(?m)^ +(outbox_\w+);$", read(os.path.join(outbox_test.SRCDIR, "core", "lib", "liboutbox.map")))
        links = {name for name, text in self.pages.items() if text == ".so man3/liboutbox.3\n"}
        self.assertEqual(links, {name + ".3" for name in functions})
        self.assertEqual(links | set(self.written), set(self.pages))
        self.assertIn("liboutbox.3", self.written)


if __name__ == "__main__":
    outbox_test.main()
