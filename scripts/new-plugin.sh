#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# new-plugin.sh pub|store|rule NAME: begins a plugin in this tree, from the template of the SDK: plugins/KIND-NAME/ with its
# source, manual page and Makefile.inc, which configure.ac and Makefile.am then name. Next: ./autogen.sh, configure and
# `make KIND-NAME`. For a plugin outside of the tree there is outbox-new-plugin.
set -eu
kind=${1:-} name=${2:-}
if ! [[ $kind =~ ^(pub|store|rule)$ && $name =~ ^[a-z][a-z0-9]*$ && $# = 2 ]]; then
    sed -n '3,5s/^# //p' "$0"
    echo "NAME has lower-case letters and digits only."
    exit 2
fi
cd "$(dirname "$0")/.."
plugin=$kind-$name folder=plugins/$kind-$name variable=${kind}_${name}_la
[ ! -e "$folder" ] || { echo "new-plugin: $folder is there already" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/outbox-new-plugin "$kind" "$name" "$work/new" >"$work/log"
mkdir "$folder"
cp "$work/new/$plugin.c" "$work/new/outboxd-$plugin.7" "$folder"

conditional=PLUGIN_${plugin^^}
cat >"$folder/Makefile.inc" <<EOT
# SPDX-License-Identifier: Apache-2.0
if ${conditional//-/_}
plugin_LTLIBRARIES += $plugin.la
man_MANS += $folder/outboxd-$plugin.7
endif
EXTRA_DIST += $folder/outboxd-$plugin.7
${variable}_CPPFLAGS = \$(PLUGIN_CPPFLAGS) -DPLUGIN_VERSION=PACKAGE_VERSION -I\$(srcdir)/$folder
${variable}_LDFLAGS = -module \$(AM_LDFLAGS) \$(MODULE_LDFLAGS)
${variable}_LIBADD = common/libcommon.la
${variable}_SOURCES = $folder/$plugin.c
EOT

# append FILE BEGINNING LINE: below the last line that begins so.
append() {
    local at
    at=$(grep -n "^$2" "$1" | tail -n 1 | cut -d: -f1)
    sed -i "${at}a $3" "$1"
}
append configure.ac 'OUTBOX_PLUGIN(' "OUTBOX_PLUGIN([$plugin], [], [], [])"
append Makefile.am 'include plugins/' "include $folder/Makefile.inc"
echo "$folder is made; next: ./autogen.sh, configure, make $plugin"
