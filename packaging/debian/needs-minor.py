#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Reads what `outboxd plugins --json` prints, and prints the minor of the plugin ABI that the named plugin needs.
import json
import sys

wanted = "/" + sys.argv[1] + ".so"
plugins = [json.loads(line) for line in sys.stdin]
needs = [p["needs_minor"] for p in plugins if p.get("file", "").endswith(wanted)]
if not needs:
    sys.exit("%s is not there, or cannot be loaded: %s" % (wanted, [p for p in plugins if "error" in p]))
print(needs[0])
