#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the image of packaging/container on a base that mmdebstrap makes, without a registry, and tries it by crun, with
# nobody's rights, no shell, a read-only root, no network and outboxd as process 1: a first message, the health check,
# programs that nobody waits for, the end by SIGTERM.
#
#   check-container.sh [RELEASE]    of Debian; default: bookworm
#
# The base and the layers are kept in $OUTBOX_CONTAINER_DIR, if that is set. To be run by root. 77 where it cannot be run.
set -euo pipefail
cd "$(dirname "$0")/.."
release=${1:-bookworm}
base=docker.io/library/debian:$release-slim

cannot() {
    echo "check-container: $*" >&2
    exit 77
}
[ "$(id -u)" = 0 ] || cannot "only root can make the base and try the image"
for tool in buildah crun mmdebstrap python3 unshare; do
    command -v $tool >/dev/null || cannot "$tool is missing (Debian: a package of this name)"
done
unshare --mount --pid --fork --net true 2>/dev/null || cannot "this machine may not make namespaces"
work=$(mktemp -d /var/tmp/outbox-container-XXXXXX)
store=${OUTBOX_CONTAINER_DIR:-$work/store}
running=
cleanup() {
    [ -z "$running" ] || runtime kill "$running" KILL 2>/dev/null || :
    # Its layers are mounted by overlays or copied; buildah knows.
    [ -n "${OUTBOX_CONTAINER_DIR:-}" ] || image_tool rm -a >/dev/null 2>&1 || :
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
say() { echo "check-container: $*"; }
wrong() {
    echo "check-container: FAILED: $*" >&2
    for log in "$work"/*.log; do
        echo "--- the end of $(basename "$log")" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}
image_tool() { buildah --root "$store/images" --runroot "$work/run" --storage-driver vfs "$@"; }

# ---- the base, under the name that the Containerfile has

apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-)' >"$work/apt.conf" || :
make_base() {
    local container mirror
    # shellcheck disable=SC2016  # apt's
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 2>/dev/null |
        awk '$2 == "Debian" && $3 == "Debian" {print $1; exit}')
    unshare --mount mmdebstrap --quiet --variant=minbase --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr --customize-hook="rm \"\$1\"/etc/apt/apt.conf.d/99mmdebstrap" "$release" "$work/base.tar" \
        "${mirror:-http://deb.debian.org/debian}" || return
    container=$(image_tool from scratch)
    image_tool add -q "$container" "$work/base.tar" / >/dev/null
    image_tool config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    image_tool commit -q --rm "$container" "$base" >/dev/null
    rm "$work/base.tar"
}
if ! image_tool inspect --type image "$base" >/dev/null 2>&1; then
    make_base >"$work/base.log" 2>&1 || {
        cat "$work/base.log"
        cannot "no base of $release could be made"
    }
fi

# ---- the image

version=$(sed -n 's/^AC_INIT(\[outboxd\], \[\([^]]*\)\].*/\1/p' configure.ac)
mkdir "$work/source"
git ls-files -z | xargs -0 cp -P --parents -t "$work/source"
# This machine's ways to the mirror are mounted: they are no part of the image.
image_tool bud --isolation chroot --format docker --pull-never ${OUTBOX_CONTAINER_DIR:+--layers} -f packaging/container/Containerfile \
    --build-arg BASE="$base" -v "$work/apt.conf:/etc/apt/apt.conf.d/99check:ro" -t outboxd:check "$work/source" \
    >"$work/build.log" 2>&1 || wrong "the image cannot be built"
grep -nE 'warning: |Warning' "$work/build.log" | grep -vE 'apt-utils|apt-get|remember to run .libtool --finish' && wrong "building warns"
image_tool inspect --type image outboxd:check >"$work/image.json"
python3 - "$work/image.json" "$version" <<'PYTHON' || wrong "what the image says of itself"
import json, sys
said = json.load(open(sys.argv[1]))["Docker"]["config"]
labels = said["Labels"]
assert said["User"] == "10001:10001", said["User"]
assert said["Entrypoint"] == ["/usr/bin/outboxd"] and said["Cmd"] == ["run"], said
assert said["StopSignal"] in ("SIGTERM", "15"), said["StopSignal"]
assert "/var/lib/outboxd" in said["Volumes"], said["Volumes"]
assert said["Healthcheck"]["Test"][:2] == ["CMD", "/usr/bin/outboxd"], said["Healthcheck"]
assert labels["org.opencontainers.image.version"] == sys.argv[2], labels
assert labels["org.opencontainers.image.licenses"] == "Apache-2.0", labels
PYTHON
container=$(image_tool from --pull-never outboxd:check)
root=$(image_tool mount "$container")
for file in "$root"/usr/bin/outboxd "$root"/usr/lib/outboxd/plugins/*.so; do
    [ "$(stat -c %u:%g%A "$file" | cut -c 1-13)" = "0:0-rwxr-xr-x" ] || wrong "$file is $(stat -c '%u:%g %A' "$file")"
done
say "image: $(du -sm --apparent-size "$root" | cut -f 1) MB, $(find "$root/usr/lib/outboxd/plugins" -name '*.so' | wc -l) plugins," \
    "packages with its libraries: $(tr '\n' ' ' <"$root/usr/share/doc/outboxd/packages")"

# ---- a bundle of it: the root read-only and without any shell; only the volume and /tmp can be written to

find "$root/bin/" "$root/usr/bin/" \( -name 'sh' -o -name 'dash' -o -name 'bash' -o -name 'rbash' -o -name perl -o -name 'perl5*' \) -delete
[ ! -e "$root/bin/sh" ] || wrong "there is a shell yet"
bundle=$work/bundle
mkdir -p "$bundle" "$work/volume" "$work/etc" "$work/state"
chown 10001:10001 "$work/volume"
chmod 755 "$work"
cat >"$work/etc/outboxd.ini" <<'INI'
[relay]
name = container
poll_interval = 100ms
[store]
plugin = sqlite
path = /var/lib/outboxd/first.db
[publisher file]
plugin = exec
command = /usr/bin/tee -a ${ARRIVED}
[publisher orphans]
plugin = exec
command = /usr/bin/setsid --fork /usr/bin/sleep 0.1
[route orphans]
topic = orphan
publisher = orphans
[router]
fallback = file
INI
chown 0:10001 "$work/etc/outboxd.ini"
chmod 640 "$work/etc/outboxd.ini"

# prepare ARGUMENT...: the image's configuration as a runtime takes it; without arguments the image's own command runs.
prepare() {
    python3 - "$work" "$root" "$@" <<'PYTHON'
import json, subprocess, sys
work, root, *arguments = sys.argv[1:]
image = json.load(open(work + "/image.json"))["Docker"]["config"]
subprocess.run(["crun", "spec"], cwd=work + "/bundle", check=True) if not __import__("os").path.exists(work + "/bundle/config.json") else None
bundle = json.load(open(work + "/bundle/config.json"))
uid, gid = map(int, image["User"].split(":"))
bundle["process"].update(
    terminal=False, args=image["Entrypoint"] + (arguments or image["Cmd"]), cwd=image["WorkingDir"],
    env=image["Env"] + ["ARRIVED=/var/lib/outboxd/arrived.txt"], user={"uid": uid, "gid": gid}, noNewPrivileges=True, capabilities={})
bundle["root"] = {"path": root, "readonly": True}
bundle["mounts"] = [m for m in bundle["mounts"] if m["destination"] in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/sys")] + [
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]},
    {"destination": "/var/lib/outboxd", "type": "bind", "source": work + "/volume", "options": ["bind", "rw", "noexec"]},
    {"destination": "/etc/outboxd", "type": "bind", "source": work + "/etc", "options": ["bind", "ro"]}]
bundle["linux"].pop("resources", None)
json.dump(bundle, open(work + "/bundle/config.json", "w"))
PYTHON
}
# Resources are not what is tried; where groups of them are of both kinds, crun would not begin.
runtime() {
    # shellcheck disable=SC2016  # the inner shell's
    unshare --mount sh -c 'mount -t tmpfs tmpfs /sys/fs/cgroup && exec crun --cgroup-manager=disabled --root "$@"' runtime "$work/state" "$@"
}
# once NAME ARGUMENT...: a container for one command.
once() {
    local name=$1
    shift
    prepare "$@"
    runtime run --bundle "$bundle" "$name"
}
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

once plugins plugins >"$work/plugins.log" 2>&1 || wrong "outboxd plugins"
[ "$(grep -cE '^(store|publisher) ' "$work/plugins.log")" = "$(find plugins -mindepth 1 -maxdepth 1 -type d | wc -l)" ] || wrong "not all plugins are there"
once init init >"$work/init.log" 2>&1 || wrong "outboxd init"
once check check --connect >"$work/check.log" 2>&1 || wrong "outboxd check"
prepare
running=relay
runtime run --bundle "$bundle" relay >"$work/relay.log" 2>&1 &
relay=$!
inside() { runtime exec --user 10001:10001 --cwd /var/lib/outboxd relay /usr/bin/outboxd "$@"; }
healthy() { inside status --fail-if no-relay >"$work/health.log" 2>&1; }
within 60 healthy || wrong "it does not become healthy"
inside send --topic hello first >"$work/send.log" 2>&1 || wrong "outboxd send"
within 60 grep -qs first "$work/volume/arrived.txt" || wrong "the first message does not arrive"
say "a first message, through a container with a read-only root, no shell, no network, user $(stat -c %u:%g "$work/volume/arrived.txt")"

# Children of a container's processes: the first one is process 1 and reaps what others leave.
first=$(runtime state relay | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
[ "$(awk '/^NSpid:/ {print $NF}' "/proc/$first/status")" = 1 ] || wrong "outboxd is not process 1"
grep -q "^Uid:.10001.10001.10001.10001" "/proc/$first/status" || wrong "it runs as $(grep ^Uid "/proc/$first/status")"
processes() { cat "/proc/$first/task/$first/children"; }
before=$(processes | wc -w)
for n in 1 2 3 4 5; do inside send --topic orphan "$n" >>"$work/send.log" 2>&1; done
settled() { [ "$(inside list --topic orphan --status processed | grep -c orphan)" = 5 ]; }
within 60 settled || wrong "programs that leave children are not done"
reaped() { [ "$(processes | wc -w)" -le "$before" ]; }
within 60 reaped || wrong "process 1 has children that nobody waits for: $(processes)"
say "process 1 reaps what programs leave behind"

began=$SECONDS
runtime kill relay TERM
code=0
within 30 bash -c "! kill -0 $relay 2>/dev/null" || wrong "SIGTERM does not end it"
wait "$relay" || code=$?
running=
[ $code = 0 ] || wrong "after SIGTERM it exits with $code"
say "SIGTERM ended it after $((SECONDS - began)) s with 0"
runtime delete -f relay >/dev/null 2>&1 || :
# A monitor sees that none is live.
if once down status --fail-if no-relay >"$work/down.log" 2>&1; then wrong "the health check passes without a relay"; fi
grep -qi 'relay' "$work/down.log" || wrong "the health check does not say why"
say "what it wrote: $(cd "$work/volume" && echo ./* | sed 's|\./||g')"
image_tool umount "$container" >/dev/null
image_tool rm "$container" >/dev/null
say "passed"
