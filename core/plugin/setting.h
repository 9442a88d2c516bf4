/* SPDX-License-Identifier: Apache-2.0 */
/* setting.h - a key of the core's own: an option like a plugin's, and the member of a struct that
 * takes its value. */
#ifndef CORE_PLUGIN_SETTING_H
#define CORE_PLUGIN_SETTING_H

#include "base/suggest.h"

#include <outbox/abi.h>

/*
 * The option's type decides the member's: INT uint32_t, DURATION int64_t (ms), SIZE uint64_t,
 * CHOICE int (the index), TEXT char * (printable, `min` to `max` bytes, owned by the struct);
 * SETTING_LATER has none: the key is known and not supported yet.
 */
#define SETTING_LATER 0u
struct setting {
    struct outbox_option option;
    size_t offset;
    int supported; /* CHOICE: how many of its choices are; 0: all */
};

/* Rows of a table of settings, which ends with SETTING_END. */
#define SETTING_NUMBER(type, name, deflt, min, max, in, member)                                   \
    {                                                                                             \
        {name, deflt, NULL, NULL, min, max, OUTBOX_OPT_##type, 0}, offsetof(struct in, member), 0 \
    }
#define SETTING_CHOICE(name, deflt, choices, supported, in, member)                            \
    {                                                                                          \
        {name, deflt, NULL, choices, 0, 0, OUTBOX_OPT_CHOICE, 0}, offsetof(struct in, member), \
            supported                                                                          \
    }
#define SETTING_END                                \
    {                                              \
        {NULL, NULL, NULL, NULL, 0, 0, 0, 0}, 0, 0 \
    }

/* The setting of that name, or NULL. */
const struct setting *setting_find(const struct setting *settings, const char *key);
/* Offers all names of the table. */
void setting_suggest(const struct setting *settings, struct suggest *similar);

/* Sets the member of *base from a text without comment and outer quotes, ${NAME} still in it. */
int setting_set(const struct setting *setting, const char *text, void *base,
                struct outbox_err *err);
/* Sets all members that have a default: OUTBOX_OK, or OUTBOX_E_RETRY without memory. */
int setting_defaults(const struct setting *settings, void *base);
/* Are the numbers of *base, which code may have set, in their ranges? */
int setting_check(const struct setting *settings, const void *base, struct outbox_err *err);

#endif
