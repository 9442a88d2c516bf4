#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the commands of README.md and of examples/swap/README.md, as they are written there, in a bare Debian that systemd
# runs: as root, and as a user who has sudo. tests/walk/readme.py says how, and what is left out. 77 where there can be no
# such root.
#
#   check-readme.sh [RELEASE [root|sudo]]    without RELEASE on bookworm and trixie, without the second as both
set -eu
cd "$(dirname "$0")/.."
releases=${1:-bookworm trixie}
readers=${2:-root sudo}

# Runs in the root, with the script of the commands as its input. A user's PATH and umask are those of a login.
# shellcheck disable=SC2016  # the inner shell's
as_reader='
    set -eu
    cat >/var/tmp/commands
    if [ "$1" = root ]; then
        exec bash /var/tmp/commands
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends passwd sudo >/dev/null
    useradd --create-home --shell /bin/bash reader
    echo "reader ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/reader
    cp -a . /home/reader/outboxd
    chown -R reader: /home/reader/outboxd
    runuser -l reader -c "cd outboxd && bash /var/tmp/commands"'

failed=0
for release in $releases; do
    for reader in $readers; do
        echo "== the commands of the READMEs on $release, as $reader"
        script=$(python3 tests/walk/readme.py "$reader" README.md examples/swap/README.md)
        code=0
        scripts/in-root.sh --systemd "$release" --bare bash -c "$as_reader" reader "$reader" <<<"$script" || code=$?
        [ $code != 77 ] || exit 77
        [ $code = 0 ] || failed=$((failed + 1))
    done
done
[ $failed = 0 ] || {
    echo "check-readme: $failed of these failed" >&2
    exit 1
}
