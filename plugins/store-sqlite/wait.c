/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - news of commits by any process. inotify reports that the write-ahead log was written;
 * PRAGMA data_version says whether something was committed. The log is written before the commit
 * counts, so that an event is followed by a few checks.
 */
#include "db.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* The longest pause between two checks after an event: after 1, 2, 4 ... ms. Between the log's
 * write and the commit lies a sync of the disk, which takes seconds on a busy one: 16 s in all;
 * polling does the rest. */
#define CHECK_MAX_MS 8192
/* How often it is looked whether the path names another file. */
#define MOVED_MS 2000

/* Watches the folder: the log itself comes and goes. Without a watch the host polls. */
static void watch(struct store *s)
{
    /* absolute, and past a symbolic link: where the log is */
    char *path = strdup(sqlite3_db_filename(s->db, "main"));
    wait_end(s);
    s->watch.inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (path && s->watch.inotify_fd >= 0 &&
        inotify_add_watch(s->watch.inotify_fd, dirname(path), IN_MODIFY | IN_CREATE) < 0)
        wait_end(s);
    free(path);
}

void wait_end(struct store *s)
{
    if (s->watch.inotify_fd >= 0)
        close(s->watch.inotify_fd);
    s->watch.inotify_fd = -1;
    s->watch.data_version = 0;
    s->watch.check_ms = 0;
}

static int has_news(struct store *s, bool *ret, struct outbox_err *err)
{
    int64_t version;
    int r = db_read_int(s, STMT_DATA_VERSION, "PRAGMA data_version", DB_NO_ARGS, &version, err);
    if (r < 0)
        return r;
    *ret = version != s->watch.data_version;
    s->watch.data_version = version;
    return OUTBOX_OK;
}

/* Reads all events. Is one of them about our database? */
static bool is_about_us(struct store *s)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    const char *path = sqlite3_db_filename(s->db, "main");
    const char *base = strrchr(path, '/');
    bool ours = false;
    ssize_t n;
    base = base ? base + 1 : path;
    while ((n = read(s->watch.inotify_fd, buffer, sizeof buffer)) > 0)
        for (char *p = buffer; p < buffer + n;) {
            const struct inotify_event *event = (const void *)p;
            ours |= (event->mask & IN_Q_OVERFLOW) ||
                    (event->len > 0 && strncmp(event->name, base, strlen(base)) == 0);
            p += sizeof *event + event->len;
        }
    return ours;
}

/* Waits for an event about our database. OK; OUTBOX_E_RETRY: it was about another file;
 * OUTBOX_E_TIMEOUT or OUTBOX_E_CANCELLED. What has come need not be all that was written: checks
 * go on after news, until CHECK_MAX_MS. */
static int await_event(struct store *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->watch.inotify_fd, .events = POLLIN},
                           {.fd = s->call.cancel_fd, .events = POLLIN}};
    int n = poll(fds, 2, timeout_ms);
    if (n > 0 && fds[1].revents)
        return OUTBOX_E_CANCELLED;
    if (n == 0 || (n < 0 && errno != EINTR)) {
        s->watch.check_ms = s->watch.check_ms < CHECK_MAX_MS ? s->watch.check_ms * 2 : 0;
        return OUTBOX_E_TIMEOUT;
    }
    if (n > 0 && !is_about_us(s))
        return OUTBOX_E_RETRY;
    s->watch.check_ms = 1;
    /* A long transaction makes very many events. */
    return poll(&fds[1], 1, 1) > 0 ? OUTBOX_E_CANCELLED : OUTBOX_OK;
}

/*
 * Checks once for what was committed before the call, then after each event about the database, and
 * for a while after the last one: an event comes with the log's write, before the commit counts. A
 * check costs a read of shared memory, so that waiting costs nothing while nothing is written.
 */
int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    bool news = false;
    int event = OUTBOX_OK;
    int r = connect_enter(s, call, err);
    if (r < 0)
        return r;
    /* The watch is there before the first check, so that no commit falls between the two. */
    if (s->watch.inotify_fd < 0)
        watch(s);
    for (;;) {
        if (event != OUTBOX_E_RETRY)
            r = has_news(s, &news, err);
        if (r < 0 || news)
            return r;
        int64_t left_ms = (s->call.deadline_us - s->host->monotonic_us(s->host)) / 1000;
        if (left_ms <= 0)
            return OUTBOX_E_TIMEOUT;
        if (connect_has_moved(s))
            return OUTBOX_OK; /* the next call opens it */
        if (left_ms > MOVED_MS)
            left_ms = MOVED_MS;
        if (s->watch.check_ms && s->watch.check_ms < left_ms)
            left_ms = s->watch.check_ms;
        event = await_event(s, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (event == OUTBOX_E_CANCELLED)
            return event;
    }
}
