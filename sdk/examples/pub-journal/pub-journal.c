/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pub-journal.c - the asynchronous form: one thread appends the messages of all workers to one
 * file, as lines, and one fdatasync serves whatever has come meanwhile.
 *
 *   cc -std=c11 -shared -fPIC $(pkg-config --cflags outbox-plugin) -Wl,-z,defs -pthread \
 *     -o pub-journal.so pub-journal.c
 */
#define _DEFAULT_SOURCE /* fdatasync */
#include <outbox/client.h>
#include <outbox/plugin.h>

#include <fcntl.h>

/* At most so many messages in one write. */
#define MOST 1000

/* What the instances of a section share; the rest of it is the thread's. */
struct journal {
    struct outbox_client client; /* first: the operations know this much of it */
    const char *path;
    int fd; /* -1: not open */
    char *lines;
    size_t n, cap;
};

static const struct outbox_option options[] = {
    {"path", NULL, "The file to append to.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
};

/* Copies what is to be written: without the lock the message may be gone. */
static int add_line(struct journal *j, const struct outbox_message *m)
{
    size_t id = (size_t)m->id.n, payload = (size_t)m->payload.n, n = j->n + id + payload + 2;
    if (n > j->cap) {
        char *lines = realloc(j->lines, 2 * n);
        if (!lines)
            return 0;
        j->lines = lines;
        j->cap = 2 * n;
    }
    memcpy(j->lines + j->n, m->id.p, id);
    j->lines[j->n + id] = ' ';
    if (payload > 0)
        memcpy(j->lines + j->n + id + 1, m->payload.p, payload);
    j->lines[n - 1] = '\n';
    j->n = n;
    return 1;
}

/* 0 or errno. */
static int append(const struct journal *j)
{
    size_t written = 0;
    while (written < j->n) {
        ssize_t n = write(j->fd, j->lines + written, j->n - written);
        if (n < 0 && errno != EINTR)
            return errno;
        written += n > 0 ? (size_t)n : 0;
    }
    return fdatasync(j->fd) == 0 ? 0 : errno;
}

/* Nobody knows what is on the disk: the host sends it again. */
static void fail(struct journal *j, int error)
{
    struct outbox_err err = {.size = sizeof err};
    outbox_fail(&err, OUTBOX_E_RETRY, "%s: %s", j->path, strerror(error));
    close(j->fd);
    j->fd = -1;
    outbox_client_lost(&j->client, &err, 0);
}

/* Writes what is queued, and tells what became of it. */
static void write_queued(struct journal *j)
{
    struct outbox_client *c = &j->client;
    struct outbox_job *job;
    int error;
    j->n = 0;
    while (c->sent.n < MOST && (job = outbox_client_next(c)) != NULL && add_line(j, job->msg))
        outbox_client_sent(c, job);
    pthread_mutex_unlock(&c->lock); /* workers submit and collect meanwhile */
    error = append(j);
    pthread_mutex_lock(&c->lock);
    if (error != 0)
        fail(j, error);
    while (c->sent.first)
        outbox_job_done(c, c->sent.first, OUTBOX_ACCEPTED, 0, NULL);
}

static void open_file(struct journal *j)
{
    struct outbox_err err = {.size = sizeof err};
    if (j->fd < 0)
        j->fd = open(j->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (j->fd >= 0) {
        outbox_client_connected(&j->client);
        return;
    }
    outbox_fail(&err, OUTBOX_E_RETRY, "%s: %s", j->path, strerror(errno));
    outbox_client_failed(&j->client, &err);
}

/* The thread, with the lock held. */
static void run(struct outbox_client *c)
{
    struct journal *j = (struct journal *)c;
    while (!c->ending) {
        if (outbox_client_is_wanted(c))
            open_file(j);
        if (c->queue.first)
            write_queued(j);
        else
            outbox_client_wait(c, -1, 0, INT64_MAX);
    }
}

static void destroy(struct outbox_client *c)
{
    struct journal *j = (struct journal *)c;
    if (j->fd >= 0)
        close(j->fd);
    free(j->lines);
    free(j);
}

static int shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    struct journal *j = calloc(1, sizeof *j);
    int r;
    if (!j)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    j->client.run = run;
    j->client.destroy = destroy;
    j->path = host->option_text(cfg, "path").p;
    j->fd = -1;
    r = outbox_client_start(&j->client, host, cfg, err);
    if (r < 0)
        destroy(&j->client);
    else
        *ret = j;
    return r;
}

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "journal", "1.0",
                            "Appends messages to a file, from one thread.", NULL, ops, options,
                            shared_open, outbox_client_stop)
