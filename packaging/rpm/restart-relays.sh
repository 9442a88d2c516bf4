#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# After packages of outboxd or of plugins were installed or upgraded: relays that run get the program and the plugins that
# are installed now, by a restart; each settles what is in flight first. One whose configuration wants what is not installed
# would not start again, so it stays as it is. Debian's outboxd.postinst does the same.

# The user and the environment of a process, such as the folder of its credentials, for a check of its configuration.
check() { # PID FILE
    if [ "$1" = 0 ] || [ ! -r "/proc/$1/environ" ]; then
        outboxd check -c "$2"
        return
    fi
    uid=$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$1/status")
    gid=$(sed -n 's/^Gid:\t\([0-9]*\).*/\1/p' "/proc/$1/status")
    # shellcheck disable=SC2016  # the inner shell's
    (cd "/proc/$1/cwd" && xargs -0 -a "/proc/$1/environ" setpriv --reuid "$uid" --regid "$gid" --clear-groups -- \
        sh -c 'exec env -i "$@" /usr/bin/outboxd check -c "$0"' "$2")
}

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    ready=
    for unit in $(systemctl list-units --plain --no-legend --state=active,activating,reloading \
        outboxd.service 'outboxd@*.service' | awk '{print $1}'); do
        file=$(systemctl show -p ExecStart --value "$unit" | sed -n 's/.* argv\[\]=[^;]* -c \([^ ;]*\).*/\1/p' | tail -n 1)
        if problem=$(check "$(systemctl show -p MainPID --value "$unit")" "${file:-/etc/outboxd/outboxd.ini}" 2>&1); then
            ready="$ready $unit"
        else
            printf '%s\n' "outboxd: $unit keeps the program and the plugins that it has loaded; it would not start again:" \
                "$problem" "outboxd: when that is repaired: systemctl restart $unit" >&2
        fi
    done
    # shellcheck disable=SC2086  # words
    [ -z "$ready" ] || systemctl try-restart $ready ||
        echo "outboxd: not all of these have started again, see systemctl status:$ready" >&2
fi
