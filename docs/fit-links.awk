# SPDX-License-Identifier: Apache-2.0
# Prints a document for the folder in which all documents lie side by side: a link to one of them keeps the name of its
# file, any other link into the source becomes plain text. Paths are those of the source.
#   awk -v document=README.md -v documents='README.md docs/a.md' -f fit-links.awk FILE

BEGIN {
    n = split(documents, paths, " ")
    for (i = 1; i <= n; i++)
        installed[paths[i]] = 1
    folder = document
    sub(/[^\/]*$/, "", folder)
}

/^```/ { fenced = !fenced }
fenced { print; next }

{
    out = ""
    while (match($0, /\[[^][]*\]\([^()]*\)/)) {
        out = out substr($0, 1, RSTART - 1) fitted(substr($0, RSTART, RLENGTH))
        $0 = substr($0, RSTART + RLENGTH)
    }
    print out $0
}

# A link, [text](target), as it is installed. A text that is the place in the source changes with the target.
function fitted(link,    text, target, file, anchor, name) {
    text = target = link
    sub(/^\[/, "", text)
    sub(/\]\(.*/, "", text)
    sub(/.*\]\(/, "", target)
    sub(/\)$/, "", target)
    if (target ~ /^#/ || target ~ /^[a-z]+:/)
        return link
    file = name = target
    sub(/#.*/, "", file)
    anchor = substr(target, length(file) + 1)
    if (!(resolved(folder file) in installed))
        return text
    sub(/#.*/, "", name)
    sub(/.*\//, "", name)
    return "[" (text == file ? name : text) "](" name anchor ")"
}

# docs/../README.md is README.md.
function resolved(path) {
    gsub(/\/\.\//, "/", path)
    sub(/^\.\//, "", path)
    while (sub(/[^\/]+\/\.\.\//, "", path))
        ;
    return path
}
