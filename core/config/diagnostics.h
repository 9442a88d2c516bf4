/* SPDX-License-Identifier: Apache-2.0 */
/* diagnostics.h - the mistakes of a file, collected while it is read and reported in the order of
 * their lines. */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>
#include <stddef.h>

/* Zeroed: none yet. */
struct diagnostics {
    struct mistake *mistakes;
    size_t n_mistakes;
    size_t n_dropped; /* over the limit */
    bool no_memory;   /* whatever else seems wrong may only not have been read */
};

/* Adds a mistake; line 0: the file as a whole. */
void diag_error(struct diagnostics *d, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Did a call succeed? If not, adds its error as a mistake of a key (NULL: of the line), or
 * (OUTBOX_E_RETRY) remembers that there was no memory. */
bool diag_check(struct diagnostics *d, int line, const char *key, int r,
                const struct outbox_err *err);

/* The same for a call that can only lack memory; returns `got`. */
bool diag_memory(struct diagnostics *d, bool got);

/* OUTBOX_OK: no mistake; OUTBOX_E_CONFIG; OUTBOX_E_RETRY: there was not the memory to know. */
int diag_result(const struct diagnostics *d);

/* One call for each mistake. */
typedef void (*diag_report_fn)(void *ctx, const char *file, int line, const char *text);
void diag_report(struct diagnostics *d, const char *file, diag_report_fn report, void *ctx);

/* Forgets the mistakes of the lines from `from` to `to`. */
void diag_forget(struct diagnostics *d, int from, int to);

/* Forgets all mistakes, not the lack of memory. */
void diag_clear(struct diagnostics *d);
