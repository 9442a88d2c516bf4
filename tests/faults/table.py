#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes TABLE.md from the logs of a test run: a row for each scenario, told by the cases that ran.

    table.py --tests         prints the test programs that it wants
    table.py BUILD_FOLDER    writes tests/faults/TABLE.md there; fails when a row does"""

import os
import re
import sys

import brokers
import detour
import fire
import test_brokers
import test_changes
import test_neighbours
import test_refused
import test_reload
import test_servers
import test_soak
import test_steady
from scenarios import SCENARIOS

MOST_FIGURES = 3


def lengths():
    """What the scenarios take in a run of this length."""
    return {"kills": format(test_soak.TIMES[0], ","), "outage": test_servers.OUTAGE, "steady": test_steady.SECONDS,
            "rows": format(neighbours("Together").COUNT, ","), "snapshot": neighbours("Snapshot").SECONDS,
            "locked": neighbours("Locked").HELD, "refused": refused(), "share": test_refused.Settles.scenario.HELD,
            "reloads": test_reload.TIMES, "big": format(test_changes.Sizes.scenario.BIG, ","),
            "brokers": ", ".join(filter(brokers.module, brokers.OWN)), "broker_outage": test_brokers.OUTAGE, "broker_cuts": test_brokers.CUTS,
            "broker_kills": test_brokers.KILLS}


def refused():
    return "" if fire.SHORT else "; and refusing for %d s, with connections counted" % detour.Outage.SECONDS


def neighbours(name):
    return getattr(test_neighbours, name).scenario


class Log:
    """Cases and figures of a test program."""

    def __init__(self, path):
        self.cases, self.figures = [], []
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            case = re.match(r"(not )?ok \d+ - (.*?)( # SKIP.*)?$", line)
            if case:
                name = case.group(2)
                if ".c:" in name:  # file:group:name: text
                    name = name.split(".c:", 1)[1].split(":")[1]
                self.cases.append((name, "fail" if case.group(1) else "skip" if case.group(3) else "pass"))
            elif line.startswith("# figures: "):
                self.figures.append(line[len("# figures: "):])


def short(figure):
    """Class_store_publisher.test_name: what was measured -> store publisher: what was measured."""
    name, _, said = figure.partition(": ")
    found = re.match(r"(?:[^_]+)_(\w+)\.test_(\w+)$", name)
    return "%s: %s" % (found.group(1).replace("_", " "), said) if found else figure


def row(build, n, scenario, done, expected, shown_by):
    values = lengths()
    texts = [str(n)] + [text.format(**values) for text in (scenario, done, expected)]
    if isinstance(shown_by, str):
        return texts + ["", shown_by]
    passed, bad, absent, figures = 0, [], [], []
    for log, pattern in shown_by:
        read = Log(os.path.join(build, log + ".log"))
        cases = [case for case in read.cases if re.search(pattern, case[0])]
        passed += sum(result == "pass" for _, result in cases)
        bad += ["%s: %s" % (name, result) for name, result in cases if result != "pass"]
        if not cases:
            absent.append("%s %s: did not run" % (os.path.basename(log), pattern))
        figures += [f for f in read.figures if any(name in f for name, _ in cases)]
    # The short form leaves out what takes long, as long as something else shows the same.
    bad += absent if not fire.SHORT or not passed else []
    measured = ["%d cases passed" % passed if passed != 1 else "1 case passed"] + bad
    measured += [short(f) for f in figures[:MOST_FIGURES]]
    return texts + ["; ".join(measured), "fail" if bad else "pass"]


def main():
    if sys.argv[1:] == ["--tests"]:
        programs = {log for each in SCENARIOS if not isinstance(each[4], str) for log, _ in each[4]}
        print(" ".join(sorted(p + ".py" if p.startswith(("tests/e2e", "tests/faults")) else p for p in programs)))
        return
    build = sys.argv[1]
    rows = [row(build, *scenario) for scenario in SCENARIOS]
    lines = ["# Faults", "",
             "%d ways in which things go wrong, and what came of it when the tests did so, as long as the rows say. Written by"
             % len(rows), "`make check-faults`. \"Lost\" are messages that were committed and never arrived, \"ghosts\" those that arrived and never",
             "were; each duplicate is attributed to a fault, and each fault has a bound.", "",
             "| n | scenario | done | expected | measured | result |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in each) + " |" for each in rows]
    path = os.path.join(build, "tests", "faults", "TABLE.md")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    failed = [each[0] for each in rows if each[-1] == "fail"]
    print("%s: %d pass, %d excluded, failed: %s" % (
        path, sum(each[-1] == "pass" for each in rows), sum(each[-1].startswith("excluded") for each in rows),
        ", ".join(failed) or "none"))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
