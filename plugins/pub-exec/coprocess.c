/* SPDX-License-Identifier: Apache-2.0 */
#include "coprocess.h"

#include "abandoned.h"
#include "common/backoff.h"
#include "common/failpoint.h"
#include "common/utf8.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 30000
#define FINISH_MS 1000
/* How long a program that was killed is waited for. */
#define KILL_MS 2000
/* Lines of stderr that are logged in a second, after as many at once. */
#define LOG_RATE 50
/* Reads of stderr at a time: a program that floods it must not keep us here. */
#define LOG_READS 64

int coprocess_fail(struct exec *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->last_error, sizeof x->last_error, fmt, ap);
    va_end(ap);
    return OUTBOX_E_RETRY;
}

/* ---- its stdin and stdout ---- */

int coprocess_queue(struct coprocess *co, const char *text, size_t n)
{
    if (n >= co->out_room - co->out_n) {
        size_t room = co->out_room ? co->out_room : 4096;
        while (room - co->out_n <= n)
            room *= 2;
        char *grown = realloc(co->out, room);
        if (!grown)
            return OUTBOX_E_RETRY;
        co->out = grown;
        co->out_room = room;
    }
    memcpy(co->out + co->out_n, text, n);
    co->out[co->out_n + n] = '\n';
    co->out_n += n + 1;
    return OUTBOX_OK;
}

void coprocess_write(struct coprocess *co)
{
    if (!child_write(&co->child, (struct outbox_str){co->out, co->out_n}, &co->written))
        return;
    if (co->written > 0)
        failpoint("after_publish");
    co->out_n = co->written = 0;
}

bool coprocess_read(struct coprocess *co)
{
    ssize_t n = 0;
    if (co->child.out_fd < 0)
        return false;
    do
        n = read(co->child.out_fd, co->in + co->in_n, sizeof co->in - co->in_n);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        child_close(&co->child.out_fd);
    if (n > 0)
        co->in_n += (size_t)n;
    return n > 0;
}

/* ---- its stderr ---- */

/* A program that floods its stderr must not fill the disk with our log. */
static void begin_second(struct exec *x, int64_t now)
{
    uint64_t n = x->log_budget.n_dropped;
    if (n > 0)
        outbox_logf(x->host, OUTBOX_LOG_WARNING,
                    "%.100s writes much to its stderr: %llu lines were not logged", x->argv[0],
                    (unsigned long long)n);
    x->log_budget = (struct log_budget){.since_us = now};
}

static bool may_log(struct exec *x)
{
    struct log_budget *b = &x->log_budget;
    int64_t now = exec_now_us(x);
    if (now - b->since_us >= INT64_C(1000000))
        begin_second(x, now);
    if (b->n < LOG_RATE)
        return ++b->n;
    b->n_dropped++;
    return false;
}

/* Each line by itself; one that is too long, or was not ended, as it is. */
static void log_lines(struct exec *x, bool last)
{
    struct coprocess *co = x->co;
    while (co->log_n > 0) {
        char clean[COPROCESS_LOG_MAX];
        char *newline = memchr(co->log, '\n', co->log_n);
        size_t n = newline ? (size_t)(newline - co->log) : co->log_n;
        size_t used = newline ? n + 1 : n;
        if (!newline && !last && co->log_n < sizeof co->log)
            return;
        if (may_log(x))
            x->host->log(x->host, OUTBOX_LOG_INFO, clean,
                         utf8_clean(co->log, n, clean, sizeof clean));
        co->log_n -= used;
        memmove(co->log, co->log + used, co->log_n);
    }
}

void coprocess_log(struct exec *x)
{
    struct coprocess *co = x->co;
    for (int i = 0; i < LOG_READS && co->child.err_fd >= 0; i++) {
        ssize_t n = read(co->child.err_fd, co->log + co->log_n, sizeof co->log - co->log_n);
        if (n < 0)
            break;
        co->log_n += (size_t)n;
        if (n == 0)
            child_close(&co->child.err_fd);
        log_lines(x, n == 0);
    }
}

/* ---- the beginning and the end ---- */

/* A program that ends without having replied at all is not started again at once. */
static void forget(struct exec *x)
{
    struct coprocess *co = x->co;
    log_lines(x, true);
    begin_second(x, exec_now_us(x));
    x->restart_us = 0;
    if (co->n_replies > 0) {
        x->n_failed = 0;
    } else {
        int64_t ms = backoff_bound_ms(RESTART_MIN_MS, RESTART_MAX_MS, x->n_failed++);
        x->restart_us = exec_now_us(x) + ms * 1000;
    }
    free(co->out);
    free(co);
    x->co = NULL;
}

int coprocess_start(struct exec *x, struct outbox_err *err)
{
    char hello[64];
    int n = snprintf(hello, sizeof hello, "{\"outboxd\":1,\"window\":%u}", x->window);
    struct coprocess *co = calloc(1, sizeof *co);
    if (!co || coprocess_queue(co, hello, (size_t)n) < 0) {
        free(co);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    x->co = co;
    int e = child_start(x, x->base_env, -1, true, &co->child);
    if (e == 0)
        return OUTBOX_OK;
    coprocess_fail(x, "cannot start %.100s: %s%s", x->argv[0], strerror(e), exec_hint(x));
    forget(x);
    return outbox_fail(err, OUTBOX_E_RETRY, "%s", x->last_error);
}

bool coprocess_reap_ended(struct exec *x)
{
    siginfo_t info;
    char how[64];
    if (!child_has_ended(&x->co->child))
        return false;
    coprocess_log(x);
    child_reap(&x->co->child, &info);
    coprocess_fail(x, "%.100s ended (%s)", x->argv[0], child_describe(&info, how));
    forget(x);
    return true;
}

void coprocess_kill(struct exec *x)
{
    coprocess_log(x);
    child_signal(&x->co->child, SIGKILL);
    if (child_ends_within(&x->co->child, KILL_MS))
        child_reap(&x->co->child, NULL);
    else
        abandoned_add(x, &x->co->child);
    forget(x);
}

void coprocess_finish(struct exec *x)
{
    child_close(&x->co->child.in_fd); /* the end of its input asks it to finish */
    if (!child_ends_within(&x->co->child, FINISH_MS)) {
        child_signal(&x->co->child, SIGTERM);
        child_ends_within(&x->co->child, FINISH_MS / 5);
    }
    coprocess_kill(x);
}
