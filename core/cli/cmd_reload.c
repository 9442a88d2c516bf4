/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_reload.c - outboxd reload: asks the running relay to read its file again, and tells what came
 * of it. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/control.h"
#include "cli/output.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <unistd.h>

struct args {
    struct syntax_args common;
    int64_t wait_ms; /* -1: until it is over */
};

static const struct syntax_option options[] = {
    {"wait", 'w', SYNTAX_DURATION, offsetof(struct args, wait_ms), "DURATION",
     "Wait no longer than this for the result"},
    {0},
};

static void print_line(const char *text)
{
    output_text(outbox_cstr(text), CONTROL_PACKET_MAX);
    putchar('\n');
}

/* What a relay answers, until the end. Returns its exit code. */
static int follow(const struct control_peer *peer, int64_t until_us)
{
    char text[CONTROL_PACKET_MAX];
    for (;;) {
        int64_t left = until_us == INT64_MAX ? -1 : (until_us - clock_monotonic_us()) / 1000;
        int kind = control_receive(peer->fd, until_us == INT64_MAX || left > 0 ? left : 0, text);
        switch (kind) {
        case CONTROL_RELAY:
            printf("relay ");
            output_text(outbox_cstr(text), 100);
            printf(" (process %d", (int)peer->pid);
            if (peer->uid != geteuid())
                printf(" of user %u", (unsigned)peer->uid);
            puts(")");
            break;
        case CONTROL_CHANGE:
            fputs("  ", stdout);
            print_line(text);
            break;
        case CONTROL_MISTAKE:
            fprintf(stderr, "%s\n", text);
            break;
        case CONTROL_FAILURE:
            report_failure("%s", text);
            break;
        case CONTROL_DONE:
            if (text[0] != '0')
                report_failure("not reloaded; the relay goes on as it was");
            return text[0] == '0' ? EXIT_DONE : text[0] == '2' ? EXIT_USAGE : EXIT_FAILED;
        case 0:
            return report_failure("process %d ended before it had reloaded", (int)peer->pid);
        case -1:
            return report_failure("process %d is not done yet; it goes on, and `outboxd status` "
                                  "will tell a failure",
                                  (int)peer->pid);
        default:
            break; /* of a later version */
        }
    }
}

static int reload(void *data)
{
    const struct args *args = data;
    struct control_peer peers[CONTROL_RELAYS_MAX];
    struct outbox_err err = {.size = sizeof err};
    int64_t until_us = args->wait_ms < 0 ? INT64_MAX : clock_monotonic_us() + args->wait_ms * 1000;
    int code = EXIT_DONE;
    int n = control_connect(args->common.config_file, peers, &err);
    if (n < 0)
        return report_error(n, &err);
    if (n == 0)
        return report_failure("no relay of this user runs with %s", args->common.config_file);
    for (int i = 0; i < n; i++) {
        int r = follow(&peers[i], until_us);
        code = r > code ? r : code;
        close(peers[i].fd);
    }
    return code;
}

const struct command cmd_reload = {
    .name = "reload",
    .summary = "make the running relay read its configuration file again",
    .syntax.options = options,
    .syntax.doc =
        "Asks each relay that runs with this file to read it again, waits, and prints what has "
        "changed or why not. A file with mistakes changes nothing.",
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.wait_ms = -1},
    .run = reload,
};
