/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/service.h"

#include "base/clock.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define LOOK_US INT64_C(1000000)
/* Beyond shutdown_timeout, for what the end of the process takes. */
#define LEAVE_MS 5000

/* For how long what must be told may wait for the manager to read, ms. */
#define ROOM_MS 5000

#ifdef HAVE_SYSTEMD
/*
 * sd_notify would wait for a manager that does not read, and with it who takes signals. So a socket
 * of our own tells whether there is room. -1: not known.
 */
static int open_room(const char *address)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(address);
    if (n < 2 || n >= sizeof to.sun_path || (address[0] != '/' && address[0] != '@'))
        return -1;
    memcpy(to.sun_path, address, n);
    if (address[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (address[0] == '/'));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, size) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}
#endif

/* False: the manager does not take it, within wait_ms. */
__attribute__((format(printf, 3, 4))) static bool tell(const struct service *s, int wait_ms,
                                                       const char *fmt, ...)
{
    char text[1200];
    struct pollfd room = {.fd = s->room_fd, .events = POLLOUT};
    va_list ap;
    if (!s->tells || (s->room_fd >= 0 && poll(&room, 1, wait_ms) <= 0))
        return false;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
#ifdef HAVE_SYSTEMD
    sd_notify(0, text);
#endif
    return true;
}

void service_begin(struct service *s, struct log *log)
{
    *s = (struct service){.log = log, .room_fd = -1};
#ifdef HAVE_SYSTEMD
    uint64_t us = 0;
    const char *address = getenv("NOTIFY_SOCKET");
    s->tells = address != NULL;
    if (s->tells)
        s->room_fd = open_room(address);
    if (s->tells && sd_watchdog_enabled(0, &us) > 0)
        s->watchdog_us = us > INT64_MAX ? 0 : (int64_t)us;
#endif
}

void service_end(struct service *s)
{
    if (s->tells && s->room_fd >= 0)
        close(s->room_fd);
    s->tells = false;
}

void service_ready(struct service *s)
{
    s->reloading = false;
    s->look_us = 0;
    s->ready_due = !tell(s, ROOM_MS, "READY=1");
}

void service_reloading(struct service *s)
{
    s->reloading = true;
    s->ready_due = false;
    s->look_us = 0;
    tell(s, ROOM_MS, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
}

void service_stopping(struct service *s, int64_t within_ms)
{
    s->stopping = true;
    s->ready_due = false;
    s->look_us = 0;
    tell(s, ROOM_MS, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64, (within_ms + LEAVE_MS) * 1000);
}

void service_describe(const struct service *s, const struct service_view *view, char *text,
                      size_t cap)
{
    struct relay_report report = {.accepted = 0};
    char waits[500] = "", why[300];
    if (view->relay) {
        relay_snapshot(view->relay, &report);
        relay_describe_waits(view->relay, waits, sizeof waits);
    }
    if (view->old && !waits[0])
        relay_describe_waits(view->old, waits, sizeof waits);
    utf8_printable(view->reload_failed, strlen(view->reload_failed), why, sizeof why);
    snprintf(text, cap, "%spublished %" PRIu64 ", failed %" PRIu64 "%s%s%s%s",
             s->stopping    ? "stopping; "
             : s->reloading ? "reloading; "
                            : "",
             report.accepted + view->sum->accepted, report.failed + view->sum->failed,
             waits[0] ? "; " : "", waits, why[0] ? "; the last reload failed: " : "", why);
}

/* A thread may be late for half of the watchdog's time, before the signs of life end. */
static void give_sign(struct service *s, const struct service_view *view, int64_t now_us)
{
    char why[300];
    if (view->relay && !view->ends_by_itself &&
        !relay_gets_on(view->relay, s->watchdog_us / 2, why, sizeof why)) {
        if (!s->hangs)
            log_event(s->log, OUTBOX_LOG_ERROR,
                      "a thread hangs; unless it comes back, the service manager's watchdog ends "
                      "this process",
                      "thread", why, "seconds", LOG_NUM(s->watchdog_us / 1000000), NULL);
        s->hangs = true;
        s->hung = view->relay;
        return;
    }
    if (s->hangs && view->relay == s->hung && !view->ends_by_itself)
        log_event(s->log, OUTBOX_LOG_WARNING, "the thread that hung has come back", NULL);
    s->hangs = false;
    if (now_us - s->fed_us < s->watchdog_us / 4)
        return;
    if (tell(s, 0, "WATCHDOG=1"))
        s->fed_us = now_us;
}

void service_look(struct service *s, const struct service_view *view)
{
    char status[sizeof s->status];
    int64_t now_us = clock_monotonic_us();
    if (!s->tells || now_us < s->look_us)
        return;
    s->look_us =
        now_us + (s->watchdog_us && s->watchdog_us / 4 < LOOK_US ? s->watchdog_us / 4 : LOOK_US);
    if (s->ready_due)
        s->ready_due = !tell(s, 0, "READY=1");
    if (s->watchdog_us)
        give_sign(s, view, now_us);
    service_describe(s, view, status, sizeof status);
    if (strcmp(status, s->status) != 0 && tell(s, 0, "STATUS=%s", status))
        memcpy(s->status, status, sizeof status);
}

int64_t service_next_ms(const struct service *s)
{
    return s->tells ? (s->look_us - clock_monotonic_us() + 999) / 1000 : INT32_MAX;
}
