#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check-layers.sh [SOURCE_TREE]: prints each #include that points upwards, and fails when there is one.
# The rooms of core/: each may include itself and the rooms before it, but cli nothing of lib. common/ includes only
# itself and the SDK; a plugin only itself, common/ and the SDK; conform/ itself, common/, the SDK and the core without
# a relay. Only tests include conform/.
set -eu
cd "${1:-$(dirname "$0")/..}"

# shellcheck disable=SC2016  # awk's variables
find common conform core plugins sdk/include -name '*.[ch]' -print0 | xargs -0 awk '
    BEGIN { n = split("base plugin route config policy relay lib cli", room); for (i = 1; i <= n; i++) level[room[i]] = i }
    function allowed(file, to,    at, part) {
        split(file, at, "/")
        split(to, part, "/")
        if (to ~ /\.\.\// || at[1] == "sdk") return 0
        if (part[1] == "common" || at[1] == "common") return part[1] == "common"
        if (at[1] == "conform") return part[1] == "conform" || (part[1] in level && level[part[1]] <= level["config"] && part[1] != "route")
        if (at[1] == "plugins") return !system("test -e " at[1] "/" at[2] "/" to)
        if (!(at[2] in level) || !(part[1] in level) || at[2] "/" part[1] == "cli/lib") return 0
        return level[part[1]] <= level[at[2]]
    }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
        split($0, name, /["<>]/)
        split(name[2], part, "/")
        if (!/"/ && !(part[1] in level) && part[1] != "common" && part[1] != "conform") next # of the system or the SDK
        if (!allowed(FILENAME, name[2])) { printf "%s:%d: includes %s\n", FILENAME, FNR, name[2]; bad = 1 }
    }
    END { exit bad }'
