/* SPDX-License-Identifier: Apache-2.0 */
#include "route/route.h"

#include <outbox/helpers.h>

#include <string.h>

const struct subject_row subjects[] = {
    [SUBJECT_TOPIC] = {"topic", false, true, "topic"},
    [SUBJECT_KEY] = {"key", false, false, "key"},
    [SUBJECT_HEADER] = {"header.", true, false, "header "},
};
_Static_assert(sizeof subjects / sizeof subjects[0] == N_SUBJECTS, "a subject has no row");

struct outbox_str subject_text(enum subject subject, const struct outbox_message *msg,
                               const char *name)
{
    if (subject != SUBJECT_HEADER)
        return subject == SUBJECT_TOPIC ? msg->topic : msg->key;
    for (uint64_t i = 0; i < msg->n_headers; i++)
        if (outbox_str_eq(msg->headers[i].name, outbox_cstr(name)))
            return msg->headers[i].value;
    return (struct outbox_str){NULL, 0};
}

enum subject subject_find(const char *route_key, const char **ret_name)
{
    *ret_name = NULL;
    for (enum subject i = 0; i < N_SUBJECTS; i++) {
        size_t n = strlen(subjects[i].key);
        if (!subjects[i].named && strcmp(route_key, subjects[i].key) == 0)
            return i;
        if (subjects[i].named && strncmp(route_key, subjects[i].key, n) == 0 && route_key[n]) {
            *ret_name = route_key + n;
            return i;
        }
    }
    return N_SUBJECTS;
}
