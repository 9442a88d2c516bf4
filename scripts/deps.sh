#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs from the distribution what building outboxd needs (--build); with --services also the servers that it is tried
# with, with --tests what all tests want, with --ci what checking it needs, with --release what making packages of other kinds
# needs, too; with --packaging only what Debian's packages are built and looked at with. Does nothing, and asks nobody, when all
# of it is there.
set -eu

build="gcc g++ make autoconf automake libtool libltdl-dev pkg-config libsqlite3-dev sqlite3
libpq-dev librabbitmq-dev libmosquitto-dev librdkafka-dev libnats-dev libhiredis-dev libcurl4-openssl-dev
libssl-dev libini-config-dev libjson-c-dev libsystemd-dev uuid-dev check python3"
# Servers, which scripts/services.sh or the tests run in private, and clients of theirs for the tests; what plugins are built with, too.
services="postgresql rabbitmq-server pgbouncer mosquitto mosquitto-clients meson nats-server nginx openssl python3-cryptography python3-pika python3-psycopg2 redis-server"
# Shells, for which there are completions.
shells="bash-completion zsh fish"
checks="clang clang-format cppcheck shellcheck mandoc valgrind xz-utils libfaketime mmdebstrap man-db groff-base build-essential debhelper lintian"
# The sanitizers and the fuzzer of Debian 12's clang are a package of their own.
# shellcheck disable=SC1091  # the file is the machine's
[ "$(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}")" != 12 ] || checks="$checks libclang-rt-14-dev"

wanted=$build
case ${1:-} in
--build | '') ;;
--services) wanted="$build $services" ;;
--tests) wanted="$build $services $shells" ;;
--ci) wanted="$build $services $shells $checks" ;;
--release) wanted="$build $services $shells $checks faketime rpm rpmlint buildah crun" ;;
--packaging) wanted="$build blhc build-essential debhelper lintian passwd systemd xz-utils" ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is no Debian; install by hand what these packages of Debian 12 hold:" >&2
    echo "$wanted" >&2
    exit 1
fi

missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "deps: run this as root, or install:$missing" >&2
        exit 1
    }
    as_root=sudo
fi

echo "deps: installing from the distribution:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
