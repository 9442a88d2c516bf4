#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Walks through the Debian packages as a new user would, in a bare Debian that systemd runs and that is thrown away: installs
# them, configures, sends the first message, swaps brokers under load, upgrades while messages flow, removes, purges.
# tests/walk/walk.py has the steps, of which each prints a line. 77 where there can be no such root.
#
#   walk-packages.sh RELEASE FOLDER [OLDER]   FOLDER has the packages, built for RELEASE; OLDER the same of a lower version,
#                                             without it those of FOLDER are made into such
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || {
    sed -n '3,8s/^# \{0,1\}//p' "$0"
    exit 2
}
release=$1 folder=$2 older=${3:-}
compgen -G "$folder/outboxd_*.deb" >/dev/null || {
    echo "walk-packages: there are no packages in $folder" >&2
    exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{new,old,next,package}

# repack PACKAGE VERSION FOLDER: the same files, another version, also where packages of the same source are meant.
repack() {
    local was name
    was=$(dpkg-deb -f "$1" Version)
    name=$(dpkg-deb -f "$1" Package)
    rm -rf "$work/package"
    dpkg-deb -R "$1" "$work/package"
    sed -i -e "s/^Version: .*/Version: $2/" -e "s/(= $was)/(= $2)/g" "$work/package/DEBIAN/control"
    dpkg-deb -b -Zgzip -z1 "$work/package" "$3/${name}_$2.deb" >/dev/null
}

for package in "$folder"/*.deb; do
    case $package in *-dbgsym_*) continue ;; esac
    cp "$package" "$work/new"
    [ -n "$older" ] || repack "$package" 0.1.9-1~ "$work/old"
    case $package in */outboxd-pub-mqtt_*) repack "$package" "$(dpkg-deb -f "$package" Version)+next" "$work/next" ;; esac
done
[ -z "$older" ] || cp "$older"/*.deb "$work/old"

# Python is what the walk is written in, and is there before it begins.
# shellcheck disable=SC2016  # the inner shell's
tar -C "$work" -c new old next | scripts/in-root.sh --systemd "$release" --bare bash -c '
    set -eu
    mkdir /srv/debs
    tar -C /srv/debs -x --no-same-owner
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-pika python3-psycopg2 >/dev/null
    exec python3 -B tests/walk/walk.py'
