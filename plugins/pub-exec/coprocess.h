/* SPDX-License-Identifier: Apache-2.0 */
/* coprocess.h - the program of mode = stream: started, written to, read from, ended. */
#pragma once

#include "child.h"
#include "reply.h"

#define COPROCESS_LOG_MAX 1024

struct coprocess {
    struct child child;
    char *out; /* for its stdin; `written` of its out_n bytes are in the pipe */
    size_t out_n, out_room, written;
    char in[2 * REPLY_MAX]; /* from its stdout: the beginning of a line, and room for more */
    size_t in_n;
    char log[COPROCESS_LOG_MAX]; /* from its stderr, likewise */
    size_t log_n;
    uint64_t n_replies; /* since it was started */
};

int coprocess_start(struct exec *x, struct outbox_err *err);
/* Queues a line for its stdin: text and a newline. */
int coprocess_queue(struct coprocess *co, const char *text, size_t n);
/* Writes what is queued, as far as the pipe takes it. */
void coprocess_write(struct coprocess *co);
/* Adds to `in` what is there to read. Was there anything? */
bool coprocess_read(struct coprocess *co);
/* Logs what is there on its stderr. */
void coprocess_log(struct exec *x);

/* The functions below end it: x->co is NULL then, x->restart_us says when the next one may start.
 */

/* Has it ended? Then it is reaped, and last_error says how it ended. */
bool coprocess_reap_ended(struct exec *x);
/* Kills its group; the caller has set last_error. */
void coprocess_kill(struct exec *x);
/* Lets it finish, for a second. */
void coprocess_finish(struct exec *x);

/* Sets last_error: why it has to end. Returns OUTBOX_E_RETRY. */
int coprocess_fail(struct exec *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
