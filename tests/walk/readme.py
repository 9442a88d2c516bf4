#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a script of the commands that Markdown files hold, for scripts/check-readme.sh.

    readme.py root|sudo FILE...

Every code block is run, in the order of the text and in one shell, as a reader would: indented ones, and fenced ones of "sh" or of
no language. One of "ini" becomes the file whose name the text above has in backquotes. Before a block whose paragraph mentions
`scripts/deps.sh` that is run. A line that says "as root, or with sudo" gets a sudo if the reader is not root. What is not run is
listed below, or has <!-- not run: why --> above it; the script says so, too."""

import re
import shlex
import sys

# What is left out, and why.
LEFT_OUT = [
    (r"scripts/test\.sh", "takes half an hour, and is what the release check runs"),
    (r"apt(-get)? install .*\./", "a build of packages: scripts/check-packages.sh makes and installs them"),
    (r"systemctl ", "wants systemd and the packages: scripts/walk-packages.sh starts the service of the packages"),
]
# What must be there, and what must be true afterwards; $log holds what the block wrote.
EXPECTED = [
    (r"quickstart\.sh$", "embedded", 'grep -q "^quickstart: committed [1-9]" "$log"'),
    (r"quickstart\.sh servers$", "servers", 'grep -q "^quickstart: committed [1-9]" "$log"'),
    (r"make install\b", "install", 'outboxd --version'),
    (r"outboxd run --once", "first message", """grep -F '{"n":1}' mail.txt"""),
    (r"make swap FROM=amqp TO=mqtt", "swap", 'test "$(grep -c "^at neither  *0$" "$log")" = 2'),
]
PRELUDE = r"""
set -eu
log=$(mktemp) step='' whole=$SECONDS
ended() {
    code=$?
    [ -z "$step" ] || { cat "$log"; echo "FAILED $step ($((SECONDS - began)) s, code $code)"; }
}
trap ended EXIT
begin() { step=$1 began=$SECONDS; }
end() { echo "ok $step ($((SECONDS - began)) s)"; step=''; }
"""


def blocks(path):
    """Yields the line where each code block begins, its language, its text, and the paragraph above it."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    above, paragraph, n = "", [], 0
    while n < len(lines):
        first, text = n, []
        fence = re.match(r"```(\w*)$", lines[n])
        if fence:
            n += 1
            while lines[n] != "```":
                text.append(lines[n])
                n += 1
            n += 1
        else:
            while lines[n].startswith("    ") or (text and not lines[n] and lines[n + 1:n + 2] and lines[n + 1].startswith("    ")):
                text.append(lines[n][4:])
                n += 1
        if text:
            yield first + 1, fence and fence.group(1), "\n".join(text), " ".join(paragraph) or above
            above, paragraph = "", []
            continue
        if lines[n]:
            paragraph.append(lines[n])
        elif paragraph:
            above, paragraph = " ".join(paragraph), []
        n += 1


def reason_not_to(text, above):
    marked = re.search(r"<!-- not run: (.*?) -->", above)
    if marked:
        return marked.group(1)
    return next((why for pattern, why in LEFT_OUT if re.search(pattern, text)), None)


def step(name, commands, checks=()):
    print("begin %s" % shlex.quote(name))
    print("{\n%s\n} </dev/null >\"$log\" 2>&1" % commands)
    for check in checks:
        print('{ %s; } >>"$log" 2>&1' % check)
    print("end")


def show_block(where, language, text, above, reader, seen):
    if language == "ini":
        name = re.findall(r"`([\w./-]+\.ini)`", above)[-1]
        print("cat >%s <<'END-OF-INI'\n%s\nEND-OF-INI" % (name, text))
        return
    why = reason_not_to(text, above)
    if language not in (None, "", "sh"):
        why = why or "is %s" % language
    if why:
        print("echo %s" % shlex.quote("left out: %s (%s): it %s" % (where, text.split("\n")[0].strip(), why)))
        return
    if "`scripts/deps.sh`" in above:
        step("%s: scripts/deps.sh" % where, "scripts/deps.sh")
    expected = [e for e in EXPECTED if any(re.search(e[0], line.split("#")[0].rstrip()) for line in text.split("\n"))]
    seen.update(e[1] for e in expected)
    if reader == "sudo":
        text = re.sub(r"^(.*#.*as root, or with sudo)", r"sudo \1", text, flags=re.M)
    step("%s: %s" % (where, text.split("\n")[0].split("#")[0].strip()), text, [e[2] for e in expected])


def main():
    reader, files, seen = sys.argv[1], sys.argv[2:], set()
    print(PRELUDE)
    for path in files:
        for line, language, text, above in blocks(path):
            show_block("%s:%d" % (path, line), language, text, above, reader, seen)
    missing = [e[1] for e in EXPECTED if e[1] not in seen]
    if missing:
        sys.exit("readme: what is expected is not in %s any more: %s" % (" ".join(files), ", ".join(missing)))
    print('echo "ok all commands ($((SECONDS - whole)) s)"')


if __name__ == "__main__":
    main()
