/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - the daemon's log: one escaped line an event, logfmt or JSON, to a descriptor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_format { LOG_LOGFMT, LOG_JSON };

/* Thread-safe; a NULL log swallows everything. Levels are OUTBOX_LOG_ of <outbox/abi.h>. */
struct log;

struct log *log_new(int fd, int level, enum log_format format);

void log_free(struct log *log);
/* From now on; other threads may log meanwhile. */
void log_configure(struct log *log, int level, enum log_format format);
int log_enabled(const struct log *log, int level);

/* Is what `about` names, a hash, to be told now? The first time it is, and then by reminder.h as
 * long as it goes on, whichever thread asks. False for a NULL log. */
bool log_is_due(struct log *log, uint64_t about);

/*
 * One line: time, level, message, then the pairs that follow, a list of
 * `const char *name, const char *value` closed by NULL. A pair whose value is
 * NULL is left out. Any bytes are allowed in message and values: they are
 * escaped, and cut at 2 KiB each. While the reader does not read, lines are
 * dropped; when it reads again, a warning says how many.
 */
void log_event(struct log *log, int level, const char *message, ...)
    __attribute__((sentinel, nonnull(3)));

/* The same for text that is not terminated, with the one pair `instance`. */
void log_text(struct log *log, int level, const char *instance, const char *text, size_t n);

/* Where events go instead of a descriptor, for an application that embeds a relay: the message, its
 * pairs, and both in one line of logfmt. Texts are clean UTF-8 and borrowed for the call. Several
 * threads call it at the same time. */
struct log_pair {
    const char *name;
    const char *value;
};
typedef void (*log_sink_fn)(void *ctx, int level, const char *message, const struct log_pair *pairs,
                            size_t n, const char *line);
struct log *log_new_sink(log_sink_fn sink, void *ctx, int level);

/* A number as text, for log_event: LOG_NUM(n) lives as long as the enclosing block. */
struct log_number {
    char text[24];
};
const char *log_number(struct log_number *buffer, int64_t n);
#define LOG_NUM(n) log_number(&(struct log_number){{0}}, (n))
