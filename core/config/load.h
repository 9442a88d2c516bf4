/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - reading the configuration, from inside. Only config*.c include it. */
#ifndef CORE_CONFIG_LOAD_H
#define CORE_CONFIG_LOAD_H

#include "base/suggest.h"
#include "base/value.h"
#include "config/config.h"
#include "config/ini.h"

struct mistake {
    int line;
    size_t order; /* of two in one line */
    char *text;
};
/* Nobody reads more, and a file of junk has a million. */
#define MISTAKES_MAX 1000

struct loader {
    struct config *config;
    struct ini *ini;
    unsigned mode; /* permissions of the file */
    struct mistake *mistakes;
    size_t n_mistakes;
    size_t n_untold;     /* mistakes over MISTAKES_MAX */
    bool publisher_seen; /* if only a bad one */
    bool no_memory;
};

/* Remembers a mistake; they are reported in the order of their lines. */
void diag_error(struct loader *l, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A value that cannot be taken: the file's mistake, unless (OUTBOX_E_RETRY) only memory was
 * lacking. */
void diag_error_from(struct loader *l, int line, const char *key, int r,
                     const struct outbox_err *err);

/* The value without comment, quotes and ${}, for free(); NULL after a complaint. */
char *entry_text(struct loader *l, const struct ini_entry *entry);

/* A key of the core and where its value goes. */
enum setting_type {
    SETTING_U32,
    SETTING_DURATION, /* int64_t ms */
    SETTING_SIZE,     /* uint64_t */
    SETTING_TEXT,     /* char *, one printable line of min to max bytes */
    SETTING_CHOICE,   /* int, the index */
    SETTING_LATER,    /* known, and not supported yet */
};
struct setting {
    const char *name;
    enum setting_type type;
    size_t offset;
    int64_t min;
    int64_t max;
    const char *const *choices; /* CHOICE: NULL-terminated */
    int supported;              /* CHOICE: how many of them already are; 0: all */
};

/* The setting of that name, or NULL. The table ends with a NULL name. */
const struct setting *setting_find(const struct setting *settings, const char *key);
/* Reads the entry into base + offset. */
void setting_apply(struct loader *l, const struct setting *setting, const struct ini_entry *entry,
                   void *base);
/* Offers all names of the table. */
void setting_names(const struct setting *settings, struct suggest *nearest);

/* The keys of struct delivery that a publisher may set for itself. */
extern const struct setting publisher_settings[];

/* [relay] and [log]; needs to come first. */
void load_relay(struct loader *l, const struct ini_section *section);
void load_log(struct loader *l, const struct ini_section *section);
void check_delivery(struct loader *l, const struct ini_section *section,
                    const struct delivery *delivery);
/* [store], [publisher NAME] */
void load_store(struct loader *l, const struct ini_section *section);
void load_publisher(struct loader *l, const struct ini_section *section, const char *name);
/* The plugin named in a section and its options; keys in `core` and `routes` are left alone. */
typedef bool (*own_key_fn)(const char *key);
void load_plugin(struct loader *l, const struct ini_section *section, uint32_t kind, own_key_fn own,
                 const struct setting *core, const struct plugin **ret,
                 struct outbox_cfg **ret_options);
/* [route NAME], [router]; after all publishers. */
void load_route(struct loader *l, const struct ini_section *section, const char *name);
void load_router(struct loader *l, const struct ini_section *section);

/* Once everything is right. */
void set_hash(struct config *config);

const struct ini_entry *entry_find(const struct ini_section *section, const char *key);

#endif
