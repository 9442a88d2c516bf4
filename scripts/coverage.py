#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Line coverage of a build with --enable-coverage, from gcov's own output.

coverage.py SOURCE_TREE BUILD_TREE [--missing FILE]. Prints a line for core/, each plugin and each of their files, and
fails when core/ or a plugin as a whole is below 85 %. A line counts as covered when any of the programs
and modules that it was compiled into ran it.
"""

import json
import os
import subprocess
import sys

# Folder: how much of it must be covered, with what is below it.
FOLDERS = {"core": 85, "plugins/store-sqlite": 85, "plugins/store-postgres": 85, "plugins/pub-amqp": 85,
           "plugins/pub-exec": 85, "plugins/pub-http": 85, "plugins/pub-kafka": 85, "plugins/pub-mqtt": 85,
           "plugins/pub-nats": 85, "plugins/pub-postgres": 85, "plugins/pub-redis": 85, "common": 0}


def data_files(build):
    for folder, _, files in os.walk(build):
        for name in files:
            if name.endswith(".gcda"):
                yield os.path.join(folder, name)


def read_lines(source, build):
    """{file: {line: how often it ran}}"""
    lines = {}
    for path in data_files(build):
        done = subprocess.run(["gcov", "--json-format", "--stdout", path], cwd=os.path.dirname(path),
                              capture_output=True, text=True, check=True)
        for text in done.stdout.splitlines():
            for file in json.loads(text)["files"]:
                full = os.path.realpath(os.path.join(build, file["file"]))
                name = os.path.relpath(full, source)
                known = lines.setdefault(name, {})
                for line in file["lines"]:
                    number = line["line_number"]
                    known[number] = max(known.get(number, 0), line["count"])
    return lines


def main():
    source, build = (os.path.realpath(path) for path in sys.argv[1:3])
    lines = read_lines(source, build)
    if len(sys.argv) > 4:
        print(sorted(n for n, count in lines[sys.argv[4]].items() if count == 0))
        return 0
    bad = False
    for folder, least in FOLDERS.items():
        files = {name: known for name, known in lines.items() if name.startswith(folder + "/")}
        total = sum(len(known) for known in files.values())
        ran = sum(1 for known in files.values() for count in known.values() if count)
        percent = 100 * ran / total if total else 0
        bad |= percent < least
        print("%-22s %5.1f %%  (%d of %d lines)" % (folder, percent, ran, total))
        for name, known in sorted(files.items()):
            covered = sum(1 for count in known.values() if count)
            print("    %-40s %5.1f %%" % (os.path.relpath(name, folder), 100 * covered / len(known)))
    return 1 if bad else 0


sys.exit(main())
