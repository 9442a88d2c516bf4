#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what comes from the tables of options: the lists between markers in manual pages, etc/outboxd.ini.sample and the
completions of shells. `make update-docs` runs it; with --check it writes nothing, and fails if a file is not up to date.
With --plugin MANUAL it writes the list of one page, that of somebody else's plugin.

What a plugin says of itself comes from `outboxd plugins --json`, the rest from docs/tables. The part of a plugin that is
not built stays as it is."""

import argparse
import glob
import json
import os
import re
import subprocess
import sys

import completion

BEGIN = re.compile(r'^\.\\" begin options (.+)$')
END = '.\\" end options'
PREFIXES = {"store": "store", "publisher": "pub", "rule": "rule"}
UNITS = [("d", 86400000), ("h", 3600000), ("m", 60000), ("s", 1000), ("ms", 1)]
SIZES = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)]
INT64_MAX = (1 << 63) - 1
NOT_YET = "Not supported yet."


# ---- the tables ----

def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def read_tables(args):
    """The tables of commands and sections, and the plugins by their whole names, as pub-exec."""
    tables = json.loads(run(os.path.abspath(args.tables))) if args.tables else {"sections": [], "commands": []}
    rows = [json.loads(line) for line in run(args.outboxd, "plugins", "--json", "--plugin-dir", args.plugin_dir).splitlines()]
    tables["plugins"] = {PREFIXES[row["kind"]] + "-" + row["name"]: row for row in rows if "error" not in row}
    for table in tables["sections"] + list(tables["plugins"].values()):
        table["options"] = [option for option in table["options"] if option["help"] != NOT_YET]
    for option in next((s["options"] for s in tables["sections"] if s["name"] == "publisher NAME"), []):
        option["inherited"], option["default"] = option["default"] is not None, None
    return tables


# ---- an option in words ----

def in_unit(n, units, last):
    """An integer as it would stand in the file, in the largest unit that it is a multiple of."""
    for unit, size in units:
        if n and n % size == 0:
            return "%d%s" % (n // size, unit)
    return "%d%s" % (n, last if n else "")


def limits(option):
    if option["type"] == "duration" and "min_seconds" in option:
        low, high = option["min_seconds"], option["max_seconds"]
        return in_unit(round(low * 1000), UNITS, "ms"), "never" if high is None else in_unit(round(high * 1000), UNITS, "ms")
    if option["type"] == "size" and "min" in option:
        return in_unit(option["min"], SIZES, ""), in_unit(option["max"], SIZES, "")
    return (str(option["min"]), str(option["max"])) if "min" in option else None


def facts(option):
    """What the declaration says: "integer, 1 to 64"."""
    text = {"list": "list, comma-separated", "words": "words of a command line",
            "publisher": "name of a publisher", "settings": "any number of them"}.get(option["type"], option["type"])
    if option["type"] == "choice":
        text = "one of " + ", ".join(option["choices"])
    elif option["type"] == "boolean":
        text = "yes or no"
    elif option.get("max") == INT64_MAX:
        text += ", %s or more" % limits(option)[0]
    elif limits(option):
        text += ", %s to %s" % limits(option)
    if option["below_batch_timeout"]:
        text += ", shorter than batch_timeout"
    if option["required"]:
        text += ", required"
    if option["secret"]:
        text += ", secret"
    elif option["may_hold_secret"] and option["type"] != "settings":
        text += ", may hold a secret"
    if option["type"] == "text" and (option["secret"] or option["may_hold_secret"]):
        text += "; may be given as %s_file" % option["name"]
    if option.get("inherited"):
        text += "; default: that of [relay]"
    return text


# ---- manual pages ----

def escape(text):
    text = text.replace("\\", "\\e")
    return "\\&" + text if text.startswith((".", "'")) else text


def argument(text):
    """A word of a macro's line: no macro itself, and no punctuation that mdoc would move."""
    text = text.replace("\\", "\\e").replace('"', "\\(dq")
    text = "\\&" + text if re.match(r"^[A-Z][a-z]{1,2}$|^[][().,:;!?|]", text) else text
    return '"%s"' % text if " " in text or not text else text


def sentences(text):
    """One a line."""
    return [escape(line) for line in re.split(r"(?<=\.) (?=[A-Z0-9])", text.strip()) if line]


def prose(text):
    """Lines of mdoc: what stands between backticks is literal, and --NAME is a flag."""
    lines = []
    for i, part in enumerate(re.split(r"(`[^`]*`|--[a-z][a-z-]*)", text)):
        if i % 2:
            before = lines.pop() if lines and lines[-1].endswith("(") else ""
            if before[:-1].strip():
                lines.append(before[:-1].rstrip())
            macro = ".Ql " if part[0] == "`" else ".Fl "
            lines.append(macro + "( " * bool(before) + argument(part.strip("`") if part[0] == "`" else part[1:]))
            continue
        after = re.match(r"[.,:;)]*", part).group(0) if lines else ""
        if after:
            lines[-1] += " " + " ".join(after)
        rest = part[len(after):]
        if rest and lines and not rest[0].isspace():
            word, _, rest = rest.partition(" ")
            lines[-1] += " Ns No " + argument(word)
        lines += sentences(rest)
    return lines


def ended(text):
    return text if text.endswith(".") else text + "."


def option_items(options):
    for option in options:
        name = ".It Cm " + option["name"]
        if option["type"] == "settings":
            name += ". Ns Ar NAME"
        elif option["default"]:
            name += " No = " + argument(option["default"])
        yield name
        yield from prose(option["help"])
        yield ".br"
        said = facts(option)
        yield ended(said[0].upper() + said[1:])


def command_items(command):
    for option in command["options"]:
        text = " Ar " + option["text"].lower().replace("=", " Ns = Ns Ar ") if option["text"] else ""
        yield ".It Fl %s , Fl -%s%s" % (option["key"], option["name"], text)
        yield from prose(ended(option["help"]))


def find_options(tables, page, name):
    """The lines of the list `name` of a page; None: it comes from a plugin that is not built."""
    if page.endswith(".8"):
        table = next((command for command in tables["commands"] if command["name"] == name), None)
    elif page.endswith(".5"):
        table = next((section for section in tables["sections"] if section["name"] == name), None)
    else:
        table = tables["plugins"].get(name)
        if not table:
            return None
    if not table:
        sys.exit("%s: there is no table `%s`" % (page, name))
    items = command_items(table) if page.endswith(".8") else option_items(table["options"])
    return [".Bl -tag -width Ds", *items, ".El"] if table["options"] else []


def manual(tables, page, text):
    lines, skipping, kept = [], False, False
    for line in text.splitlines():
        begin = BEGIN.match(line)
        if begin:
            if skipping:
                sys.exit("%s: the list before `%s` has no end" % (page, line))
            made = find_options(tables, page, begin.group(1))
            skipping, kept = True, made is None
            lines += [line, *(made or [])]
        elif line == END:
            skipping = False
            lines.append(line)
        elif not skipping or kept:
            lines.append(line)
    if skipping:
        sys.exit("%s: its last list has no end" % page)
    return "\n".join(lines) + "\n"


# ---- the sample ----

INTRODUCTION = """\
# outboxd.ini: all options of outboxd and of its plugins. outboxd.ini(5) describes the form, outboxd.ini.minimal is the smallest
# file that works.
#
# A line that begins with `;` is an option with its default, or without a value if it has none. Take away the `;` to set it, and
# those before the [section] and the `plugin` above it. A file wants one [store] and at least one [publisher NAME]; of the blocks
# for stores and publishers keep those that you need. Then run `outboxd check`.
"""


def wrap(text, width=125):
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            yield line
            line = "#"
        line += " " + word
    yield line


def sample_options(options):
    for option in options:
        yield ""
        yield from wrap(option["help"])
        yield from wrap(facts(option))
        name = option["name"] + (".NAME" if option["type"] == "settings" else "")
        yield (";%s = %s" % (name, option["default"] or "")).rstrip()


def block(title, section, options, plugin=None, notes=()):
    yield "# ---- %s ----" % title
    for note in notes:
        yield from wrap(note)
    yield section
    if plugin:
        yield ";plugin = %s" % plugin
    yield from sample_options(options)


def plugin_block(tables, name):
    """None: it is not built."""
    plugin = tables["plugins"].get(name)
    if not plugin:
        return None
    kind, notes = name.split("-")[0], [plugin["summary"]]
    section = ";[store]" if kind == "store" else ";[publisher %s]" % plugin["name"]
    if kind == "pub":
        own = next(s for s in tables["sections"] if s["name"] == "publisher NAME")["options"]
        names = [option["name"] for option in own if option["name"] != "plugin"]
        notes.append("Besides %s and %s, whose defaults are those of [relay]." % (", ".join(names[:-1]), names[-1]))
    return block("outboxd-%s(7)" % name, section, plugin["options"], plugin["name"], notes)


def sample(tables, before, names):
    """Blocks of plugins that are not built are taken from the sample as it was."""
    old = {re.match(r"outboxd-(\S+)\(7\)", part).group(1): "# ---- " + part.rstrip("\n")
           for part in before.split("# ---- ") if part.startswith("outboxd-")}
    sections = {section["name"]: section["options"] for section in tables["sections"]}
    blocks = [INTRODUCTION.rstrip("\n"), "\n".join(block("[relay]", "[relay]", sections["relay"]))]
    for name in names:
        made = plugin_block(tables, name)
        if made or name in old:
            blocks.append("\n".join(made) if made else old[name])
    blocks.append("\n".join(block("[route NAME]", ";[route mail]", sections["route NAME"], notes=[
        "Routes are tried in the order of the file. Exactly one of publisher, header and plugin says where messages go.",
        "Besides: the options of the rule plugin, if there is one."])))
    blocks.append("\n".join(block("[router]", "[router]", sections["router"])))
    blocks.append("\n".join(block("[log]", "[log]", sections["log"])))
    return "\n\n".join(blocks) + "\n"


# ---- all of it ----

def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def make_all(tables, srcdir):
    """The text of each file, by its path in the tree."""
    pages = sorted(glob.glob(os.path.join(srcdir, "docs", "*.[58]")) + glob.glob(os.path.join(srcdir, "plugins", "*", "*.7")))
    files = {}
    for page in pages:
        text = read(page)
        if END in text:
            files[os.path.relpath(page, srcdir)] = manual(tables, page, text)
    # a page for each plugin; stores come first
    names = sorted((os.path.basename(p)[len("outboxd-"):-2] for p in pages if p.endswith(".7")), key=lambda n: (n[0] != "s", n))
    path = "etc/outboxd.ini.sample"
    files[path] = sample(tables, read(os.path.join(srcdir, path)), names)
    for name, make in completion.SHELLS.items():
        files["etc/completion/" + name] = make(tables["commands"])
    return files


def main():
    parser = argparse.ArgumentParser(description="Writes what comes from the tables of options.")
    parser.add_argument("--tables", help="the program docs/tables of the build; needed without --plugin")
    parser.add_argument("--outboxd", default="outboxd", help="the program")
    parser.add_argument("--plugin-dir", required=True, help="the folder of the plugins")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    parser.add_argument("--plugin", metavar="MANUAL", help="only this manual page, of any plugin")
    parser.add_argument("srcdir", nargs="?", default=".")
    args = parser.parse_args()
    if not args.tables and not args.plugin:
        parser.error("--tables names the program docs/tables")
    tables = read_tables(args)
    files = {args.plugin: manual(tables, args.plugin, read(args.plugin))} if args.plugin else make_all(tables, args.srcdir)
    stale = 0
    for name, text in files.items():
        path = os.path.join(args.srcdir, name)
        if read(path) == text:
            continue
        stale += 1
        if args.check:
            print("%s is not what the tables say; run `make update-docs`" % name)
            continue
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        print("wrote " + name)
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
