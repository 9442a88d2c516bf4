/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pub-journal.c - the asynchronous form: one thread appends the messages of all workers to one
 * file, as lines, and one fdatasync serves whatever has come meanwhile.
 *
 *   cc -std=c11 -shared -fPIC $(pkg-config --cflags outbox-plugin) -Wl,-z,defs -pthread \
 *     -o pub-journal.so pub-journal.c
 */
#define _DEFAULT_SOURCE /* fdatasync, writev */
#include <outbox/plugin.h>
#include <outbox/wait.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

/* A message on its way. It and its outcome are ours until collect has handed the outcome out. */
struct job {
    struct job *next;
    struct instance *owner;
    const struct outbox_message *msg;
    struct outbox_outcome *outcome;
    int64_t until_us; /* by then it has its outcome */
    uint32_t verdict;
    int error;
};

struct jobs {
    struct job *first, *last;
    uint64_t n;
};

/* What the instances of a section share. `lock` protects it, and `done` and `open` of instances. */
struct journal {
    const struct outbox_host *host;
    const char *path;
    pthread_mutex_t lock;
    pthread_cond_t work, idle; /* there is something to write; something was written */
    pthread_t thread;
    struct jobs queue;
    int fd; /* -1: not open yet */
    int ending;
};

struct instance {
    const struct outbox_host *host;
    struct journal *journal;
    struct jobs done; /* to be handed out */
    uint64_t open;    /* submitted, and not in `done` */
    int ready;        /* an eventfd: readable while `done` has some */
    struct outbox_outcome **handed;
    struct outbox_reasons reasons;
};

static const struct outbox_option options[] = {
    {"path", NULL, "The file to append to.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
};

static void push(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->n++;
}

static struct job *pop(struct jobs *jobs)
{
    struct job *job = jobs->first;
    if (!job)
        return NULL;
    jobs->first = job->next;
    if (!jobs->first)
        jobs->last = NULL;
    jobs->n--;
    return job;
}

/* ---- the thread: as a client's own, it tells of each message when it is done ---- */

/* One line in one write. 0 or errno. */
static int append(int fd, const struct outbox_message *m)
{
    struct iovec parts[] = {{(void *)(uintptr_t)m->id.p, (size_t)m->id.n},
                            {(char[]){" "}, 1},
                            {(void *)(uintptr_t)m->payload.p, (size_t)m->payload.n},
                            {(char[]){"\n"}, 1}};
    ssize_t n = writev(fd, parts, 4);
    return n < 0 ? errno : n == (ssize_t)(m->id.n + m->payload.n + 2) ? 0 : ENOSPC;
}

/* Without the lock. What nobody waits for any longer stays unset. */
static void write_all(struct journal *j, struct jobs *jobs)
{
    int64_t now_us = j->host->monotonic_us(j->host);
    int synced;
    for (struct job *job = jobs->first; job; job = job->next)
        if (job->until_us > now_us) {
            job->error = append(j->fd, job->msg);
            job->verdict = job->error ? OUTBOX_UNAVAILABLE : OUTBOX_ACCEPTED;
        }
    synced = fdatasync(j->fd) == 0;
    for (struct job *job = jobs->first; job; job = job->next)
        if (!synced && job->verdict == OUTBOX_ACCEPTED)
            job->verdict = OUTBOX_UNSET; /* nobody knows what is on the disk */
}

static void *work(void *arg)
{
    struct journal *j = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&j->lock);
    while (!j->ending || j->queue.first) {
        struct jobs jobs = j->queue;
        struct job *job;
        if (!jobs.first) {
            pthread_cond_wait(&j->work, &j->lock);
            continue;
        }
        memset(&j->queue, 0, sizeof j->queue);
        pthread_mutex_unlock(&j->lock);
        write_all(j, &jobs);
        pthread_mutex_lock(&j->lock);
        while ((job = pop(&jobs)) != NULL) {
            push(&job->owner->done, job);
            job->owner->open--;
            eventfd_write(job->owner->ready, 1);
        }
        pthread_cond_broadcast(&j->idle);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- what the instances share ---- */

static int shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    struct journal *j = calloc(1, sizeof *j);
    int r;
    if (!j)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    j->host = host;
    j->path = host->option_text(cfg, "path").p;
    j->fd = -1;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->work, NULL);
    pthread_cond_init(&j->idle, NULL);
    r = pthread_create(&j->thread, NULL, work, j);
    if (r != 0) {
        free(j);
        return outbox_fail(err, OUTBOX_E_RETRY, "no thread: %s", strerror(r));
    }
    *ret = j;
    return OUTBOX_OK;
}

static void shared_close(void *shared)
{
    struct journal *j = shared;
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->ending = 1;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    if (j->fd >= 0)
        close(j->fd);
    free(j);
}

/* ---- an instance ---- */

static void close_instance(void *instance)
{
    struct instance *x = instance;
    struct job *job;
    if (!x)
        return;
    pthread_mutex_lock(&x->journal->lock);
    while (x->open > 0) /* the thread still reads these messages */
        pthread_cond_wait(&x->journal->idle, &x->journal->lock);
    pthread_mutex_unlock(&x->journal->lock);
    while ((job = pop(&x->done)) != NULL)
        free(job);
    if (x->ready >= 0)
        close(x->ready);
    free(x->handed);
    outbox_reasons_clear(&x->reasons);
    free(x);
}

static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct instance *x = calloc(1, sizeof *x);
    int r = OUTBOX_OK;
    (void)cfg;
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->journal = host->shared;
    x->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->ready < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "eventfd: %s", strerror(errno));
    return outbox_opened(r, x, close_instance, ret);
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct journal *j = ((struct instance *)instance)->journal;
    int r = OUTBOX_OK;
    (void)call; /* a local file answers at once */
    pthread_mutex_lock(&j->lock);
    if (j->fd < 0)
        j->fd = open(j->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (j->fd < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", j->path, strerror(errno));
    pthread_mutex_unlock(&j->lock);
    return r;
}

static int submit(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                  const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                  uint64_t *ret_n, struct outbox_err *err)
{
    struct instance *x = instance;
    struct journal *j = x->journal;
    int64_t until_us = x->host->monotonic_us(x->host) + (int64_t)call->timeout_ms * 1000;
    int r = check(x, call, err);
    *ret_n = 0;
    while (r == OUTBOX_OK && *ret_n < n) {
        struct job *job = calloc(1, sizeof *job);
        if (!job)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        job->owner = x;
        job->msg = msgs[*ret_n];
        job->outcome = outcomes[*ret_n];
        job->until_us = until_us;
        pthread_mutex_lock(&j->lock);
        push(&j->queue, job);
        x->open++;
        pthread_cond_signal(&j->work);
        pthread_mutex_unlock(&j->lock);
        ++*ret_n;
    }
    return r;
}

static int collect(void *instance, const struct outbox_call *call,
                   struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err)
{
    struct instance *x = instance;
    struct outbox_deadline d;
    struct jobs done;
    struct job *job;
    eventfd_t count;
    outbox_reasons_clear(&x->reasons);
    free(x->handed);
    x->handed = NULL;
    *ret_n = 0;
    outbox_deadline_begin(&d, x->host, call);
    if (outbox_wait(&d, x->ready, POLLIN, 1) != OUTBOX_OK)
        return OUTBOX_OK; /* none has an outcome yet; once the host cancels, it asks again */
    pthread_mutex_lock(&x->journal->lock);
    x->handed = calloc((size_t)x->done.n + 1, sizeof(struct outbox_outcome *));
    if (!x->handed) {
        pthread_mutex_unlock(&x->journal->lock);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    eventfd_read(x->ready, &count);
    done = x->done;
    memset(&x->done, 0, sizeof x->done);
    pthread_mutex_unlock(&x->journal->lock);
    while ((job = pop(&done)) != NULL) {
        job->outcome->verdict = job->verdict;
        if (job->error)
            outbox_reason(&x->reasons, job->outcome, job->verdict, "%s: %s", x->journal->path,
                          strerror(job->error));
        x->handed[(*ret_n)++] = job->outcome;
        free(job);
    }
    *ret = x->handed;
    return OUTBOX_OK;
}

static int32_t ready_fd(void *instance)
{
    return ((struct instance *)instance)->ready;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .check = check,
    .submit = submit,
    .collect = collect,
    .ready_fd = ready_fd,
};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "journal", "1.0",
                            "Appends messages to a file, from one thread.", NULL, ops, options,
                            shared_open, shared_close)
