/* SPDX-License-Identifier: Apache-2.0 */
/* stream_process.c - the co-process of mode = stream: started, listened to, ended. */
#include "common/backoff.h"
#include "common/utf8.h"
#include "exec.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 30000
#define LOG_LINE_MAX 1024
#define FINISH_MS 1000

int buffer_add(struct buffer *b, const char *text, size_t n)
{
    if (n > b->room - b->n) {
        size_t room = b->room ? b->room : 4096;
        while (room - b->n < n)
            room *= 2;
        char *grown = realloc(b->p, room);
        if (!grown)
            return -1;
        b->p = grown;
        b->room = room;
    }
    memcpy(b->p + b->n, text, n);
    b->n += n;
    return 0;
}

bool stream_fail(struct exec *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->trouble, sizeof x->trouble, fmt, ap);
    va_end(ap);
    if (x->stream)
        x->stream->broken = true;
    return false;
}

static void free_stream(struct exec *x)
{
    struct stream *st = x->stream;
    free(st->out.p);
    free(st->in.p);
    free(st->log.p);
    free(st->sent);
    free(st);
    x->stream = NULL;
}

/* A program that ends without having answered anything is not started at once again. */
static void set_restart(struct exec *x)
{
    if (x->stream->answers > 0)
        x->failures = 0;
    int64_t ms = backoff_bound_ms(RESTART_MIN_MS, RESTART_MAX_MS, x->failures);
    x->failures += x->failures < UINT32_MAX;
    x->retry_us = x->stream->answers > 0 ? 0 : x->host->monotonic_us(x->host) + ms * 1000;
}

int stream_start(struct exec *x, struct outbox_err *err)
{
    char hello[64];
    int n = snprintf(hello, sizeof hello, "{\"outboxd\":1,\"window\":%u}\n", x->window);
    struct stream *st = calloc(1, sizeof *st);
    if (st)
        st->sent = calloc((size_t)x->window + 1, sizeof *st->sent);
    if (!st || !st->sent || buffer_add(&st->out, hello, (size_t)n) < 0) {
        free(st ? st->sent : NULL);
        free(st);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    x->stream = st;
    int e = child_start(x, x->base_env, -1, true, &st->child);
    if (e == 0)
        return OUTBOX_OK;
    snprintf(x->trouble, sizeof x->trouble, "cannot start %.100s: %s", x->argv[0], strerror(e));
    set_restart(x);
    free_stream(x);
    return outbox_fail(err, OUTBOX_E_RETRY, "%s", x->trouble);
}

/* ---- stderr ---- */

static void log_line(struct exec *x, const char *line, size_t n)
{
    char clean[LOG_LINE_MAX];
    size_t len = utf8_clean(line, n, clean, sizeof clean);
    x->host->log(x->host, OUTBOX_LOG_INFO, clean, len);
}

static void log_lines(struct exec *x, struct buffer *b)
{
    char *newline;
    while ((newline = b->n ? memchr(b->p, '\n', b->n) : NULL) || b->n >= LOG_LINE_MAX) {
        size_t n = newline ? (size_t)(newline - b->p) : b->n;
        log_line(x, b->p, n);
        b->n -= newline ? n + 1 : n;
        memmove(b->p, b->p + n + (newline != NULL), b->n);
    }
}

bool stream_read_log(struct exec *x)
{
    struct stream *st = x->stream;
    char text[4096];
    ssize_t n;
    /* Bounded: a program that floods its stderr must not keep us here. */
    for (int i = 0; i < 16; i++) {
        n = read(st->child.err_fd, text, sizeof text);
        if (n <= 0)
            break;
        if (buffer_add(&st->log, text, (size_t)n) == 0)
            log_lines(x, &st->log);
    }
    if (n == 0)
        child_close(&st->child.err_fd);
    return n != 0;
}

static void last_words(struct exec *x)
{
    if (x->stream->child.err_fd >= 0)
        stream_read_log(x);
    if (x->stream->log.n > 0)
        log_line(x, x->stream->log.p, x->stream->log.n);
}

/* ---- its end ---- */

bool stream_has_ended(struct exec *x)
{
    siginfo_t info;
    char how[64];
    if (!child_has_ended(&x->stream->child))
        return false;
    last_words(x);
    child_reap(&x->stream->child, &info);
    snprintf(x->trouble, sizeof x->trouble, "%.100s ended (%s)", x->argv[0],
             child_describe(&info, how));
    set_restart(x);
    free_stream(x);
    return true;
}

void stream_kill(struct exec *x, const char *why)
{
    if (why != x->trouble)
        snprintf(x->trouble, sizeof x->trouble, "%s", why);
    last_words(x);
    child_kill(&x->stream->child);
    set_restart(x);
    free_stream(x);
}

static bool ends_within(const struct exec *x, const struct child *child, int ms)
{
    struct pollfd ended = {.fd = child->pid_fd, .events = POLLIN};
    int64_t until_us = x->host->monotonic_us(x->host) + ms * INT64_C(1000);
    while (!child_has_ended(child)) {
        int64_t left = (until_us - x->host->monotonic_us(x->host)) / 1000;
        if (left <= 0)
            return false;
        poll(&ended, 1, child_poll_ms(child, left));
    }
    return true;
}

void stream_finish(struct exec *x)
{
    struct stream *st = x->stream;
    if (!st)
        return;
    /* The end of its input asks it to finish. */
    child_close(&st->child.in_fd);
    if (!ends_within(x, &st->child, FINISH_MS)) {
        child_signal(&st->child, SIGTERM);
        ends_within(x, &st->child, FINISH_MS / 5);
    }
    last_words(x);
    child_kill(&st->child);
    free_stream(x);
}
