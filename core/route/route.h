/* SPDX-License-Identifier: Apache-2.0 */
/* route.h - the model of routes: conditions, and how a route names a publisher. Publishers are
 * names here; a router looks up the index of the one that was named. */
#pragma once

#include "plugin/options.h"
#include "plugin/shared_state.h"

#include <stdbool.h>

/* ---- what of a message a condition can look at: one table ---- */

/* The numbers are part of a configuration's fingerprint: add at the end, and a row to the table. */
enum subject { SUBJECT_TOPIC, SUBJECT_KEY, SUBJECT_HEADER, N_SUBJECTS };

/*
 * `key` is the key of a route in the file. A named subject's key ends in a period and the name
 * follows it: header.NAME. `label` goes before the name in an explanation; `help` is one sentence
 * for who writes a file.
 */
struct subject_row {
    const char *key;
    bool named;
    const char *label;
    const char *help;
};
extern const struct subject_row route_subjects[]; /* N_SUBJECTS */

/* The subject of a route's key and *ret_name (NULL: not a named one); N_SUBJECTS: none. */
enum subject route_subject_find(const char *key, const char **ret_name);

/* The subject's text; p NULL: the message has none. */
struct outbox_str route_subject_text(enum subject subject, const struct outbox_message *msg,
                                     const char *name);

/* ---- routes ---- */

/* A condition: the subject's text matches an fnmatch pattern. */
struct route_match {
    enum subject subject;
    char *name; /* of a named subject, else NULL */
    char *pattern;
};

/* A value of the destination header and the publisher it stands for. */
struct route_target {
    char *value;
    char *publisher;
};

/* The index of a publisher that there is not. */
#define ROUTE_NONE ((size_t)-1)

/* Decides in code: the name of a publisher, or NULL to pass. */
typedef const char *(*route_fn)(void *ctx, const struct outbox_message *msg);

/* One [route NAME]. All matches must hold; then exactly one of the ways to name a publisher. */
struct route {
    char *name;
    int line;
    struct route_match *matches;
    size_t n_matches;
    char *publisher;              /* `publisher = X`, else NULL */
    char *header;                 /* `header = H`, else NULL: its value is looked up in targets */
    struct route_target *targets; /* `to.VALUE = X` and `to = X, Y` */
    size_t n_targets;
    const struct plugin *rule; /* `plugin = X`, else NULL */
    struct outbox_cfg *rule_cfg;
    struct shared_state *rule_shared;
    route_fn fn; /* built in code, else NULL */
    void *fn_ctx;
};

/* The whole [router] and its routes; immutable while routers use it. */
struct route_table {
    struct route *routes;
    size_t n_routes;
    char *fallback;                /* NULL: none */
    const char *const *publishers; /* of the relay, by index; borrowed */
    size_t n_publishers;
};

/* Appends an empty route; NULL without memory. Its address changes when another is added. */
struct route *route_add(struct route_table *table, const char *name);
/* Append a copy of the texts: OUTBOX_OK or OUTBOX_E_RETRY. */
int route_add_match(struct route *route, enum subject subject, const char *name,
                    const char *pattern);
int route_add_target(struct route *route, const char *value, const char *publisher);

/* Frees the routes, not the publishers' names, and leaves a table without any. */
void route_table_clear(struct route_table *table);
