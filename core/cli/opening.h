/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opening.h - a relay that is opened in a thread of its own: a plugin that blocks where it must not
 * keeps nobody from taking signals, and is named when its time is over.
 */
#pragma once

#include "config/config.h"
#include "relay/relay.h"

struct opening;

/* So long may all of it take, ms: opening neither connects nor waits. */
#define OPENING_MS 15000

struct opening_result {
    int r; /* OUTBOX_OK, or a class */
    struct outbox_err err;
    struct config *config; /* that was read; NULL: a mistake, or it was given */
    struct relay *relay;   /* opened if r is OUTBOX_OK, else only to be freed */
    char **mistakes;       /* lines for people: FILE:LINE: text; NULL: there was no memory */
    size_t n_mistakes;
};

/*
 * Opens a relay with `config`; or, if that is NULL, reads `file` and opens a relay that follows
 * `before`, whose configuration is `before_config`. All of it is borrowed until the opening has
 * ended. NULL without memory or thread.
 */
struct opening *opening_start(const char *file, const struct config *config,
                              const struct relay_mode *mode, struct log *log,
                              const struct relay *before, const struct config *before_config);
/* Readable when it has ended. */
int opening_fd(const struct opening *opening);
/* What it does now, for people. Until it has ended. */
void opening_describe(const struct opening *opening, char *text, size_t cap);
/* Nobody waits for it any more: what it still opens it closes itself. */
void opening_abandon(struct opening *opening);
/* When it has ended: what came out, which is the caller's then. Frees the opening. */
void opening_take(struct opening *opening, struct opening_result *ret);
/* Frees what is left of a result: the mistakes, and what the caller has not set to NULL. */
void opening_drop(struct opening_result *result);
