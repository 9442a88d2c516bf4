/* SPDX-License-Identifier: Apache-2.0 */
/* subject.h - what of a message a route's condition can look at: one table for all of them. */
#ifndef CORE_ROUTE_SUBJECT_H
#define CORE_ROUTE_SUBJECT_H

#include <outbox/abi.h>

#include <stdbool.h>

/* The numbers are part of a configuration's fingerprint: add at the end, and a row to the table. */
enum subject { SUBJECT_TOPIC, SUBJECT_KEY, SUBJECT_HEADER, N_SUBJECTS };

/*
 * `key` is the key of a route in the file. A named subject's key ends in a period and the name
 * follows it: header.NAME. The rest answers for one condition: `label` goes before the name in an
 * explanation, `text` finds the text (p NULL: the message has none).
 */
struct subject_row {
    const char *key;
    bool named;
    bool never_empty; /* an empty pattern would match nothing */
    const char *label;
    struct outbox_str (*text)(const struct outbox_message *msg, const char *name);
};
extern const struct subject_row subjects[]; /* N_SUBJECTS */

/* The subject of a route's key and *ret_name (NULL: not a named one); N_SUBJECTS: none. */
enum subject subject_find(const char *key, const char **ret_name);

struct outbox_str subject_header(const struct outbox_message *msg, const char *name);

#endif
