/* SPDX-License-Identifier: Apache-2.0 */
/* option_value.h - the value of one option: read from its text, checked, and kept secret. */
#pragma once

#include "base/value.h"

#include <stdbool.h>

/* A type of the core's own, which no plugin can declare: text that is one printable line of min to
 * max bytes. */
#define OPTION_VALUE_LINE UINT32_C(0x80000001)

/* A setting of a group (PREFIX). */
struct option_setting {
    char *key; /* without the prefix */
    char *text;
    int line;
};

/* Zeroed: not set. */
struct option_value {
    bool given; /* by the file, not by default */
    int line;   /* of the file; 0: not known */
    char *file; /* where the text comes from, if not from the configuration itself */
    char *text; /* one text, or that of a number */
    size_t text_n;
    int64_t number;                  /* INT, BOOL, DURATION (ms), SIZE */
    struct value_items items;        /* ARGV, LIST */
    struct option_setting *settings; /* PREFIX */
    size_t n_settings;
};

/* Frees it, after it has overwritten what may be a secret. */
void option_value_clear(struct option_value *value);

/* Reads a text as the type says. After an error *ret may hold a part of it; the error shows no part
 * of a secret. */
int option_value_parse(const struct outbox_option *option, const char *text,
                       struct option_value *ret, struct outbox_err *err);

/* Adds a setting to a group. After an error the group is as before. */
int option_value_add(const struct outbox_option *option, struct option_value *value,
                     const char *key, const char *text, struct outbox_err *err);
/* The setting of a key, or NULL. */
struct option_setting *option_value_setting(const struct option_value *value, const char *key);

/* OUTBOX_E_CONFIG when the default does not fit the option's own declaration. */
int option_value_check_default(const struct outbox_option *option, struct outbox_err *err);

/* A number has to be in the option's range; `text` is how it was written. */
int option_value_check_range(const struct outbox_option *option, int64_t n, const char *text,
                             struct outbox_err *err);

/* A number as it would stand in the file. */
const char *option_value_show(const struct outbox_option *option, int64_t n,
                              struct value_text *buffer);

/* Is the value of the option, or of the setting `key` of a group (NULL: it is none), a secret? */
bool option_value_is_secret(const struct outbox_option *option, const char *key, const char *text);
/* Does the file's text itself hold a secret, and not only the name of a variable that does? `key`
 * is as it stands in the file: NAME, or NAME.KEY of a group. */
bool option_value_spells_secret(const struct outbox_option *option, const char *key,
                                const char *text);

/* On top of `hash` (hash.h): all of the value that is no secret. */
uint64_t option_value_hash(const struct outbox_option *option, const struct option_value *value,
                           uint64_t hash);
