/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"
#include "base/reminder.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <outbox/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 2048
#define LINE_MAX_BYTES 16384
/* How long a line waits for a reader that does not read. The next lines do not wait at all, until
 * the reader reads again. */
#define STALL_MS 200

/* What log_is_due knows at once. */
#define SUBJECTS 64

struct subject {
    uint64_t about; /* 0: free */
    struct reminder reminder;
};

struct log {
    pthread_mutex_t subject_lock;
    struct subject subjects[SUBJECTS]; /* a ring: the oldest gives way */
    size_t next_subject;
    pthread_mutex_t lock; /* of the next three, and keeps lines whole where a write is cut short */
    bool stalled;         /* the last write found no room */
    bool cut;             /* and left a line without its end */
    uint64_t n_dropped;   /* lines, not yet reported */
    log_sink_fn sink;     /* NULL: lines go to fd */
    void *sink_ctx;
    int fd;
    _Atomic int level;
    _Atomic int format; /* enum log_format */
};

/* A line under construction; what does not fit is dropped, never the final newline. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
    enum log_format format;
};

/* An event for a sink, under construction; none has more pairs. */
#define PAIRS_MAX 12
struct event {
    struct line line;
    struct log_pair pairs[PAIRS_MAX];
    size_t n_pairs;
    char message[VALUE_MAX + 1];
    char values[LINE_MAX_BYTES]; /* of the pairs, one behind the other */
    size_t n_values;
};

struct log *log_new(int fd, int level, enum log_format format)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    pthread_mutex_init(&log->lock, NULL);
    pthread_mutex_init(&log->subject_lock, NULL);
    log->fd = fd;
    log_configure(log, level, format);
    return log;
}

void log_configure(struct log *log, int level, enum log_format format)
{
    log->level = level;
    log->format = (int)format;
}

void log_free(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_destroy(&log->lock);
    pthread_mutex_destroy(&log->subject_lock);
    free(log);
}

int log_enabled(const struct log *log, int level)
{
    return log && level <= log->level;
}

bool log_is_due(struct log *log, uint64_t about)
{
    size_t i = 0;
    if (!log)
        return false;
    pthread_mutex_lock(&log->subject_lock);
    while (i < SUBJECTS && log->subjects[i].about != about)
        i++;
    if (i == SUBJECTS) {
        i = log->next_subject++ % SUBJECTS;
        log->subjects[i] = (struct subject){.about = about};
    }
    bool due = reminder_is_due(&log->subjects[i].reminder, clock_monotonic_us());
    pthread_mutex_unlock(&log->subject_lock);
    return due;
}

const char *log_number(struct log_number *buffer, int64_t n)
{
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64, n);
    return buffer->text;
}

static void put(struct line *line, const char *text, size_t n)
{
    size_t room = sizeof line->text - 2 - line->n;
    if (n > room)
        n = room;
    memcpy(line->text + line->n, text, n);
    line->n += n;
}

static void put_str(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* `text` is clean (utf8_clean), so that every character of it has a length. */
static bool needs_quotes(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i += utf8_char(text + i, n - i))
        if (text[i] == ' ' || strchr("=\"\\", text[i]) ||
            utf8_control(text + i, utf8_char(text + i, n - i)) != UTF8_NO_CONTROL)
            return true;
    return n == 0;
}

static void put_quoted(struct line *line, const char *text, size_t n)
{
    put(line, "\"", 1);
    for (size_t i = 0, len; i < n; i += len) {
        char escape[8];
        len = utf8_char(text + i, n - i);
        unsigned c = utf8_control(text + i, len);
        if (text[i] == '"' || text[i] == '\\')
            snprintf(escape, sizeof escape, "\\%c", text[i]);
        else if (text[i] == '\n' || text[i] == '\t')
            snprintf(escape, sizeof escape, "\\%c", text[i] == '\n' ? 'n' : 't');
        else if (c != UTF8_NO_CONTROL)
            snprintf(escape, sizeof escape, "\\u%04X", c & 0xFFFFu);
        else
            snprintf(escape, sizeof escape, "%.*s", (int)len, text + i);
        put_str(line, escape);
    }
    put(line, "\"", 1);
}

static void put_pair(struct line *line, const char *name, const char *value, size_t n)
{
    char clean[VALUE_MAX + 1];
    size_t len = utf8_clean(value, n, clean, sizeof clean);
    if (line->format == LOG_JSON) {
        put_str(line, line->n ? ",\"" : "{\"");
        put_str(line, name);
        put_str(line, "\":");
        put_quoted(line, clean, len);
        return;
    }
    if (line->n)
        put(line, " ", 1);
    put_str(line, name);
    put(line, "=", 1);
    if (needs_quotes(clean, len))
        put_quoted(line, clean, len);
    else
        put(line, clean, len);
}

static void begin(struct line *line, const struct log *log, int level, const char *message,
                  size_t n)
{
    char now[RFC3339_SIZE];
    const char *name = level <= OUTBOX_LOG_ERROR     ? "error"
                       : level <= OUTBOX_LOG_WARNING ? "warning"
                       : level <= OUTBOX_LOG_INFO    ? "info"
                                                     : "debug";
    line->n = 0;
    line->format = (enum log_format)log->format;
    rfc3339_format(clock_wall_us(), now);
    put_pair(line, "time", now, strlen(now));
    put_pair(line, "level", name, strlen(name));
    put_pair(line, "msg", message, n);
}

static void end(struct line *line)
{
    if (line->format == LOG_JSON)
        line->text[line->n++] = '}';
    line->text[line->n++] = '\n';
}

/*
 * Under the lock. Other processes share the descriptor, so that it cannot be made non-blocking; but
 * when poll says that there is room, PIPE_BUF bytes do not block. False: there was no room in time.
 */
static bool write_out(struct log *log, const char *text, size_t n)
{
    int64_t until_us = clock_monotonic_us() + (log->stalled ? 0 : STALL_MS * INT64_C(1000));
    for (size_t done = 0; done < n;) {
        struct pollfd room = {.fd = log->fd, .events = POLLOUT};
        int64_t left_ms = (until_us - clock_monotonic_us() + 999) / 1000;
        int ready = poll(&room, 1, left_ms > 0 ? (int)left_ms : 0);
        ssize_t w =
            ready > 0 ? write(log->fd, text + done, n - done < PIPE_BUF ? n - done : PIPE_BUF) : -1;
        if (w > 0) {
            done += (size_t)w;
        } else if (ready > 0 && errno != EAGAIN && errno != EINTR) {
            break; /* nobody can read it any more */
        } else if (left_ms <= 0) {
            log->stalled = true;
            log->cut |= done > 0;
            return false;
        }
    }
    log->stalled = false;
    return true;
}

/* Writes the warning about dropped lines; before it, the newline that a cut line lacks. */
static bool report_dropped(struct log *log)
{
    struct line line;
    struct log_number n = {{0}};
    begin(&line, log, OUTBOX_LOG_WARNING, "nobody read the log; lines were dropped", 39);
    log_number(&n, (int64_t)log->n_dropped);
    put_pair(&line, "lines", n.text, strlen(n.text));
    end(&line);
    if (log->cut && write_out(log, "\n", 1))
        log->cut = false;
    return !log->cut && write_out(log, line.text, line.n);
}

/* A log that cannot be written must not stop the relay. */
static void finish(struct line *line, struct log *log)
{
    end(line);
    pthread_mutex_lock(&log->lock);
    if (log->n_dropped > 0 && report_dropped(log))
        log->n_dropped = 0;
    if (log->n_dropped > 0 || !write_out(log, line->text, line->n))
        log->n_dropped++;
    pthread_mutex_unlock(&log->lock);
}

/* ---- to a sink ---- */

struct log *log_new_sink(log_sink_fn sink, void *ctx, int level)
{
    struct log *log = log_new(-1, level, LOG_LOGFMT);
    if (log) {
        log->sink = sink;
        log->sink_ctx = ctx;
    }
    return log;
}

static void begin_event(struct event *event, const char *message, size_t n)
{
    event->line.n = event->n_pairs = event->n_values = 0;
    event->line.format = LOG_LOGFMT;
    n = utf8_clean(message, n, event->message, sizeof event->message);
    put(&event->line, event->message, n);
}

static void add_pair(struct event *event, const char *name, const char *value)
{
    size_t n = strlen(value), room = sizeof event->values - event->n_values;
    char *clean = event->values + event->n_values;
    if (event->n_pairs == PAIRS_MAX || room <= VALUE_MAX)
        return;
    event->n_values += utf8_clean(value, n, clean, VALUE_MAX + 1) + 1;
    event->pairs[event->n_pairs++] = (struct log_pair){name, clean};
    put_pair(&event->line, name, value, n);
}

static void end_event(struct event *event, struct log *log, int level)
{
    event->line.text[event->line.n] = '\0';
    log->sink(log->sink_ctx, level, event->message, event->pairs, event->n_pairs, event->line.text);
}

static void event_to_sink(struct log *log, int level, const char *message, va_list ap)
{
    struct event event;
    begin_event(&event, message, strlen(message));
    for (const char *name; (name = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        if (value)
            add_pair(&event, name, value);
    }
    end_event(&event, log, level);
}

static void text_to_sink(struct log *log, int level, const char *instance, const char *text,
                         size_t n)
{
    struct event event;
    begin_event(&event, text, n);
    if (instance)
        add_pair(&event, "instance", instance);
    end_event(&event, log, level);
}

/* ---- events ---- */

static void event_to_fd(struct log *log, int level, const char *message, va_list ap)
{
    struct line line;
    begin(&line, log, level, message, strlen(message));
    for (const char *name; (name = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        if (value)
            put_pair(&line, name, value, strlen(value));
    }
    finish(&line, log);
}

void log_event(struct log *log, int level, const char *message, ...)
{
    va_list ap;
    if (!log_enabled(log, level))
        return;
    va_start(ap, message);
    if (log->sink)
        event_to_sink(log, level, message, ap);
    else
        event_to_fd(log, level, message, ap);
    va_end(ap);
}

void log_text(struct log *log, int level, const char *instance, const char *text, size_t n)
{
    struct line line;
    if (!log_enabled(log, level))
        return;
    if (log->sink) {
        text_to_sink(log, level, instance, text, n);
        return;
    }
    begin(&line, log, level, text, n);
    if (instance)
        put_pair(&line, "instance", instance, strlen(instance));
    finish(&line, log);
}
