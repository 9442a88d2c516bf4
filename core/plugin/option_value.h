/* SPDX-License-Identifier: Apache-2.0 */
/* option_value.h - the value of one option: its text, read as the option's type says. */
#ifndef CORE_PLUGIN_OPTION_VALUE_H
#define CORE_PLUGIN_OPTION_VALUE_H

#include "base/value.h"

struct option_value {
    bool given; /* by the file, not by default */
    char *text; /* TEXT, CHOICE and numbers */
    size_t text_n;
    int64_t number;           /* INT, BOOL, DURATION (ms), SIZE */
    struct value_items items; /* ARGV, LIST */
};

/*
 * Reads a text without comment and outer quotes, ${NAME} still in it. *ret is empty before, and
 * cleared again on errors, whose text says what is wrong with the value and what fits, without
 * file, line and name.
 */
int option_value_parse(const struct outbox_option *option, const char *text,
                       struct option_value *ret, struct outbox_err *err);
/* Frees it, overwriting the text, which may be a secret. */
void option_value_clear(struct option_value *value);

/* A number of the option's type as it would stand in the file. */
const char *option_value_show(const struct outbox_option *option, int64_t n,
                              struct value_text *buffer);
/* Is it from min to max? `text` is how the error shows it. */
int option_value_check_range(const struct outbox_option *option, int64_t n, const char *text,
                             struct outbox_err *err);

/* Must this value of the option not be shown? */
bool option_value_is_secret(const struct outbox_option *option, const char *text);
/* Does the file's text itself hold a secret, and not only the name of a variable that does? */
bool option_value_spells_secret(const struct outbox_option *option, const char *text);

#endif
