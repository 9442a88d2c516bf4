#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes Debian's packages, as a distribution would, from the tarball of `make dist`: source and binaries, built as an
# unprivileged user in a bare root of each release, which has no network. Then the source package is unpacked and its binaries are
# built once more (with nocheck), lintian and blhc look at everything, and each package is installed, removed and purged: the root
# is to be what it was. Prints a line for each package and step.
#
#   check-packages.sh [--out FOLDER] [RELEASE...]    bookworm and trixie by default; FOLDER/RELEASE gets what was built
#
# 77 where there can be no such root (which fails with CI set).
# shellcheck disable=SC2317  # step calls them
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
roots=${OUTBOX_ROOTS_DIR:-/var/tmp/outbox-roots}

# ---- in the root, in a copy of the source

failed=0
step() { # NAME COMMAND...: runs it with its log in $logs, and prints a line
    local name=$1 began=$SECONDS
    shift
    if "$@" >"$logs/$name.log" 2>&1; then
        echo "ok      $release: $name, $((SECONDS - began)) s"
    else
        echo "FAILED  $release: $name; its log ends:"
        tail -n 40 "$logs/$name.log"
        failed=1
        return 1
    fi
}

as_builder() { setpriv --reuid=builder --regid=builder --init-groups -- env HOME="$work" DEB_BUILD_OPTIONS="${options:-}" "$@"; }

tarball() {
    ./autogen.sh && mkdir build && cd build && ../configure && make dist && cp outboxd-"$version".tar.xz "$work/outboxd_$version.orig.tar.xz"
}

# build FOLDER ARGUMENT...: of dpkg-buildpackage, in the folder of an unpacked source
build() {
    local folder=$1
    shift
    as_builder env -C "$folder" dpkg-buildpackage -us -uc -j"$(nproc)" "$@"
}

again() {
    as_builder mkdir "$work/again" && as_builder env -C "$work/again" dpkg-source -x "$work"/outboxd_*.dsc unpacked &&
        options=nocheck build "$work/again/unpacked" -b
}

compare_builds() {
    mkdir "$work/one" "$work/other" && cp "$work"/*.deb "$work/one/" && cp "$work"/again/*.deb "$work/other/" &&
        "$top/scripts/check-reproducible.sh" --debs "$work/one" "$work/other"
}

# One release's lintian does not know the tags and the policy of another's, for which there are overrides.
look() { lintian --suppress-tags alien-tag,newer-standards-version --allow-root --pedantic -I --fail-on=error,warning,info,pedantic "$work"/outboxd_*.changes; }

# PIE is the compiler's own default; what only tests load is not installed; the SBOM is told the compiler's name, and links nothing.
flags() {
    blhc --debian --bindnow --ignore-line '.*-o tests/fixtures/.*' --ignore-line '.*scripts/sbom\.py --version .*' "$logs/build.log"
}

# What there is outside of dpkg's and the caches' own: paths, owners, modes; and the accounts.
state() {
    find / -xdev -path /var/tmp -prune -o -path /tmp -prune -o -path /proc -prune -o -path /dev -prune -o -path /var/lib/dpkg -prune -o \
        -path /var/cache -prune -o -path /var/log -prune -o -path '/etc/*-' -prune -o ! -type d -printf '%p %u %m\n' -o -printf '%p/ %u %m\n' | sort
    cat /etc/passwd /etc/group
}

# Each package comes and goes by itself, with what it depends on of ours; a configuration and data are there between.
come_and_go() {
    local package deb names
    state >"$work/before"
    for package in $(names_of_packages); do
        deb=$(echo "$work/${package}"_*.deb)
        case $package in
        outboxd | liboutbox1 | outboxd-doc) set -- "$deb" ;;
        outboxd-dev) set -- "$deb" "$work"/liboutbox1_*.deb ;;
        *) set -- "$deb" "$work"/outboxd_*.deb ;;
        esac
        dpkg -i "$@" || return
        # The core runs with no plugin at all.
        [ "$package" != outboxd ] || sh "$top/packaging/debian/tests/core-alone" || return
        if [ -d /etc/outboxd ]; then
            [ "$(stat -c '%U %G %a' /etc/outboxd)" = 'root outboxd 750' ] || return
            echo '[relay]' >/etc/outboxd/shop.ini
            mkdir -p /var/lib/outboxd
            chown outboxd: /var/lib/outboxd
        fi
        mapfile -t names < <(for deb; do dpkg-deb -f "$deb" Package; done)
        dpkg --remove "${names[@]}" || return
        case " ${names[*]} " in *' outboxd '*) [ -e /etc/outboxd/shop.ini ] && [ -d /var/lib/outboxd ] || return ;; esac
        dpkg --purge "${names[@]}" || return
        state >"$work/after"
        diff "$work/before" "$work/after" || return
    done
}

names_of_packages() { for deb in "$work"/*.deb; do dpkg-deb -f "$deb" Package; done | grep -v -e -dbgsym; }

in_root() {
    release=$1 work=/var/tmp/outbox-packages logs=/var/tmp/outbox-packages/logs
    version=$(sed -n 's/^AC_INIT(\[outboxd\], \[\([^]]*\)\].*/\1/p' configure.ac)
    rm -rf "$work"
    mkdir -p "$logs"
    dpkg-query -W -f '${Package}\n' 'outboxd*' 'liboutbox*' 2>/dev/null | xargs -r dpkg --purge >/dev/null 2>&1 # of a run that broke off
    getent passwd builder >/dev/null || useradd --system --home-dir "$work" --shell /bin/sh builder
    step tarball tarball || return
    mkdir "$work/outboxd-$version"
    tar -xf "$work/outboxd_$version.orig.tar.xz" -C "$work/outboxd-$version" --strip-components=1
    # Libraries differ between releases, and so do packages.
    # shellcheck disable=SC1091  # the root's
    sed -i "1s/)/~deb$(. /etc/os-release && echo "$VERSION_ID"))/" "$work/outboxd-$version/debian/changelog"
    chown -R builder: "$work"
    step build build "$work/outboxd-$version" || return
    step build-of-the-source-package again
    step the-same-bytes compare_builds
    step lintian look
    step blhc flags
    step install-remove-purge come_and_go
    for deb in "$work"/*.deb; do
        case $deb in *-dbgsym_*) continue ;; esac
        echo "package $release: $(dpkg-deb -f "$deb" Package) $(dpkg-deb -f "$deb" Version), $(($(stat -c %s "$deb") / 1024)) KiB," \
            "$(dpkg-deb -f "$deb" Installed-Size) KiB installed, $(dpkg-deb -c "$deb" | grep -vc '^d') files"
    done
    rm -rf "$work/again" "$work/one" "$work/other" "$work/outboxd-$version" "$work"/before "$work"/after
    return $failed
}

if [ "${1:-}" = --in-root ]; then
    in_root "$2"
    exit
fi

# ---- outside

out=
if [ "${1:-}" = --out ]; then
    out=${2:?} && shift 2
fi
[ $# -gt 0 ] || set -- bookworm trixie
result=0
for release; do
    scripts/in-root.sh "$release" --packaging scripts/check-packages.sh --in-root "$release"
    code=$?
    if [ $code = 77 ] && [ -z "${CI:-}" ]; then
        echo "skipped $release"
        [ $result != 0 ] || result=77
        continue
    fi
    [ $code = 0 ] || result=1
    if [ -n "$out" ]; then
        mkdir -p "$out/$release"
        find "$roots/$release--packaging/var/tmp/outbox-packages" -maxdepth 1 -type f -exec cp -t "$out/$release" {} +
        cp -r "$roots/$release--packaging/var/tmp/outbox-packages/logs" "$out/$release/"
    fi
done
exit $result
