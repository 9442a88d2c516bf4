/* SPDX-License-Identifier: Apache-2.0 */
/* value.h - the text of one value: comments, quotes, ${NAME}, and what types make of it. */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All that return text return it for free(); errors (OUTBOX_E_CONFIG) say what fits. */

/* Takes the comment away, and the quotes of a value that is quoted as a whole. NULL: no memory. */
char *value_unquote(const char *raw);

/* Replaces ${NAME} by the environment variable and $${ by a literal ${. */
int value_expand(const char *text, char **ret, struct outbox_err *err);

/* Words; freed by value_items_free. */
struct value_items {
    char **items;
    size_t n;
};
void value_items_free(struct value_items *items);
/* Splits at white space outside double quotes, then expands each word. */
int value_argv(const char *text, struct value_items *ret, struct outbox_err *err);
/* Splits at commas, trims, then expands each; empty ones are mistakes. */
int value_list(const char *text, struct value_items *ret, struct outbox_err *err);

int value_int(const char *text, int64_t *ret, struct outbox_err *err);
int value_bool(const char *text, int64_t *ret, struct outbox_err *err);
/* Milliseconds, or OUTBOX_NEVER. */
int value_duration(const char *text, int64_t *ret, struct outbox_err *err);
/* Bytes. */
int value_size(const char *text, int64_t *ret, struct outbox_err *err);

/* Does the text hold a password, as //user:password@host or password=... do? One that stands there
 * as a ${NAME} does not count. */
bool value_holds_password(const char *text);

/* A duration as one would write it. */
struct value_text {
    char text[32];
};
const char *value_show_duration(int64_t ms, struct value_text *buffer);
const char *value_show_size(int64_t bytes, struct value_text *buffer);
