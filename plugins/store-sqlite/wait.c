/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - news of commits by any process. inotify tells that the write-ahead log was written;
 * PRAGMA data_version whether something was committed. The log is written before the commit
 * counts, so an event is followed by a few looks.
 */
#include "sqlite.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Looks after an event: after 1, 2, 4 ... ms. Between the log's write and the commit lies a sync of
 * the disk, which takes seconds on a busy one: 16 s in all; polling does the rest. */
#define LOOKS 14

void wait_end(struct store *s)
{
    if (s->inotify_fd >= 0)
        close(s->inotify_fd);
    s->inotify_fd = -1;
    s->data_version = 0;
    s->event_is_open = false;
}

/* Watches the folder: the log itself comes and goes. Without a watch the host polls. */
static void watch(struct store *s)
{
    /* absolute, and past a symbolic link: where the log is */
    char *folder = strdup(sqlite3_db_filename(s->db, "main"));
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        slash[slash == folder] = '\0';
    s->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (folder && s->inotify_fd >= 0 &&
        inotify_add_watch(s->inotify_fd, slash ? folder : ".", IN_MODIFY | IN_CREATE) < 0)
        wait_end(s);
    free(folder);
}

static int has_news(struct store *s, bool *ret, struct outbox_err *err)
{
    sqlite3_stmt *q = db_statement(s, SLOT_DATA_VERSION, "PRAGMA data_version", err);
    if (!q)
        return s->failure;
    if (sqlite3_step(q) != SQLITE_ROW)
        return db_fail(s, err);
    int64_t version = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    *ret = version != s->data_version;
    s->data_version = version;
    return OUTBOX_OK;
}

/* Reads all events; true when one is about our database. */
static bool is_about_us(struct store *s)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    const char *path = sqlite3_db_filename(s->db, "main");
    const char *base = strrchr(path, '/');
    bool ours = false;
    ssize_t n;
    base = base ? base + 1 : path;
    while ((n = read(s->inotify_fd, buffer, sizeof buffer)) > 0)
        for (char *p = buffer; p < buffer + n;) {
            const struct inotify_event *event = (const void *)p;
            ours |= (event->mask & IN_Q_OVERFLOW) ||
                    (event->len > 0 && strncmp(event->name, base, strlen(base)) == 0);
            p += sizeof *event + event->len;
        }
    return ours;
}

/* Waits for an event about our database. OK, OUTBOX_E_TIMEOUT or OUTBOX_E_CANCELLED. */
static int await_event(struct store *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->inotify_fd, .events = POLLIN},
                           {.fd = s->cancel_fd, .events = POLLIN}};
    int n = poll(fds, 2, timeout_ms);
    if (n < 0)
        return errno == EINTR ? OUTBOX_OK : OUTBOX_E_TIMEOUT;
    if (fds[1].revents)
        return OUTBOX_E_CANCELLED;
    if (n == 0)
        return OUTBOX_E_TIMEOUT;
    return is_about_us(s) ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int await_cancel(struct store *s, int timeout_ms)
{
    struct pollfd cancel = {.fd = s->cancel_fd, .events = POLLIN};
    return poll(&cancel, 1, timeout_ms) > 0 ? OUTBOX_E_CANCELLED : OUTBOX_OK;
}

static int64_t left_ms(const struct store *s)
{
    return (s->deadline_us - s->host->monotonic_us(s->host)) / 1000;
}

/* Looks whether the event's commit is there; another event begins anew. What is there need not be
 * all that was written: the event stays open until the last look. */
static int look_for_news(struct store *s, bool *ret, struct outbox_err *err)
{
    for (int look = 0; look < LOOKS; look++) {
        int r = has_news(s, ret, err);
        if (r < 0 || *ret)
            return r;
        if (left_ms(s) <= 0)
            return OUTBOX_E_TIMEOUT;
        int event = await_event(s, 1 << look);
        if (event == OUTBOX_OK) {
            look = -1;
            event = await_cancel(s, 1); /* a long transaction makes very many events */
        }
        if (event == OUTBOX_E_CANCELLED)
            return event;
    }
    s->event_is_open = false;
    return has_news(s, ret, err);
}

int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    bool news = false;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    if (s->inotify_fd < 0)
        watch(s);
    /* The watch is there before this look, so that no commit falls between the two. */
    r = has_news(s, &news, err);
    while (r == 0 && !news) {
        int64_t left = left_ms(s);
        if (left <= 0)
            return OUTBOX_E_TIMEOUT;
        if (!s->event_is_open) {
            int event = await_event(s, left > INT32_MAX ? INT32_MAX : (int)left);
            if (event == OUTBOX_E_TIMEOUT || event == OUTBOX_E_CANCELLED)
                return event;
            s->event_is_open = event == OUTBOX_OK;
        }
        if (s->event_is_open)
            r = look_for_news(s, &news, err);
    }
    return r;
}
