/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pub-file.c - a publisher in one file: appends each message to a file, as one line.
 *
 *   cc -std=c11 -shared -fPIC $(pkg-config --cflags outbox-plugin) -Wl,-z,defs -o pub-file.so
 * pub-file.c
 */
#define _DEFAULT_SOURCE /* fdatasync, writev */
#include <outbox/plugin.h>
#include <outbox/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

struct file {
    const struct outbox_host *host;
    const char *path; /* belongs to the host; valid until close */
    int fd;           /* -1: not open */
    struct outbox_reasons reasons;
};

static const struct outbox_option options[] = {
    {"path", NULL, "The file to append to.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
};

static void close_file(void *instance)
{
    struct file *f = instance;
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    outbox_reasons_clear(&f->reasons);
    free(f);
}

/* Validates and allocates. The file is opened later: that may fail now and succeed then. */
static int open_file(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    struct file *f = calloc(1, sizeof *f);
    int r = OUTBOX_OK;
    if (!f)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    f->host = host;
    f->path = host->option_text(cfg, "path").p;
    f->fd = -1;
    if (f->path[0] != '/')
        r = outbox_fail_option(err, "path", "path: %s does not begin with /", f->path);
    return outbox_opened(r, f, close_file, ret);
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct file *f = instance;
    (void)call; /* a local file answers at once */
    if (f->fd < 0)
        f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return f->fd >= 0 ? OUTBOX_OK
                      : outbox_fail(err, OUTBOX_E_CONFIG, "%s: %s", f->path, strerror(errno));
}

/* One line in one write, so that lines of several workers do not mix. 0 or errno. */
static int append(const struct file *f, const struct outbox_message *m)
{
    struct iovec parts[] = {{(void *)(uintptr_t)m->id.p, (size_t)m->id.n},
                            {(char[]){" "}, 1},
                            {(void *)(uintptr_t)m->payload.p, (size_t)m->payload.n},
                            {(char[]){"\n"}, 1}};
    ssize_t wanted = (ssize_t)(m->id.n + m->payload.n + 2);
    ssize_t n = writev(f->fd, parts, 4);
    return n == wanted ? 0 : n < 0 ? errno : ENOSPC;
}

/* Accepted means durable, so fdatasync comes first. What was not tried stays unset. */
static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct file *f = instance;
    struct outbox_deadline d;
    uint64_t done = 0;
    int failed = 0;
    int r = check(instance, call, err);
    outbox_reasons_clear(&f->reasons);
    outbox_deadline_begin(&d, f->host, call);
    if (r < 0)
        return r; /* the host pauses this publisher; no message is charged */
    while (done < n && failed == 0 && !outbox_deadline_cancelled(&d) &&
           outbox_deadline_left_ms(&d) > 0) {
        failed = append(f, msgs[done]);
        done += failed == 0;
    }
    if (fdatasync(f->fd) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", f->path, strerror(errno));
    for (uint64_t i = 0; i < done; i++)
        outcomes[i]->verdict = OUTBOX_ACCEPTED;
    if (failed) /* it will not do for the next message either: an outage, which charges nothing */
        outbox_reason(&f->reasons, outcomes[done], OUTBOX_UNAVAILABLE, "%s: %s", f->path,
                      strerror(failed));
    if (done == n || failed)
        return OUTBOX_OK;
    return outbox_fail(err, d.cancelled ? OUTBOX_E_CANCELLED : OUTBOX_E_TIMEOUT, "%s: no time left",
                       f->path);
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_file,
    .close = close_file,
    .check = check,
    .publish = publish,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "file", "1.0", "Appends messages to a file.", NULL,
                     ops, options)
