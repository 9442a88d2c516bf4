/* SPDX-License-Identifier: Apache-2.0 */
#include "route/route.h"

#include "base/array.h"

#include <outbox/helpers.h>

const struct subject_row route_subjects[] = {
    [SUBJECT_TOPIC] = {"topic", false, "topic",
                       "A pattern that the topic of the message must match."},
    [SUBJECT_KEY] = {"key", false, "key", "A pattern that the key of the message must match."},
    [SUBJECT_HEADER] = {"header.", true, "header ",
                        "A pattern that the header NAME of the message must match."},
};
_Static_assert(sizeof route_subjects / sizeof route_subjects[0] == N_SUBJECTS,
               "a subject has no row");

struct outbox_str route_subject_text(enum subject subject, const struct outbox_message *msg,
                                     const char *name)
{
    if (subject != SUBJECT_HEADER)
        return subject == SUBJECT_TOPIC ? msg->topic : msg->key;
    return outbox_header_value(msg, name);
}

enum subject route_subject_find(const char *route_key, const char **ret_name)
{
    for (enum subject i = 0; i < N_SUBJECTS; i++) {
        const struct subject_row *row = &route_subjects[i];
        size_t n = strlen(row->key);
        if (strncmp(route_key, row->key, n) != 0 || row->named != (route_key[n] != '\0'))
            continue;
        *ret_name = row->named ? route_key + n : NULL;
        return i;
    }
    return N_SUBJECTS;
}

/* ---- routes ---- */

struct route *route_add(struct route_table *table, const char *name)
{
    struct route *route = array_add(&table->routes, &table->n_routes, sizeof *route);
    if (!route)
        return NULL;
    route->name = strdup(name);
    return route->name ? route : NULL;
}

int route_add_match(struct route *route, enum subject subject, const char *name,
                    const char *pattern)
{
    struct route_match *match = array_add(&route->matches, &route->n_matches, sizeof *match);
    if (!match)
        return OUTBOX_E_RETRY;
    match->subject = subject;
    match->name = name ? strdup(name) : NULL;
    match->pattern = strdup(pattern);
    return match->pattern && !name == !match->name ? OUTBOX_OK : OUTBOX_E_RETRY;
}

int route_add_target(struct route *route, const char *value, const char *publisher)
{
    struct route_target *target = array_add(&route->targets, &route->n_targets, sizeof *target);
    if (!target)
        return OUTBOX_E_RETRY;
    target->value = strdup(value);
    target->publisher = strdup(publisher);
    return target->value && target->publisher ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static void clear(struct route *route)
{
    for (size_t i = 0; i < route->n_matches; i++) {
        free(route->matches[i].name);
        free(route->matches[i].pattern);
    }
    for (size_t i = 0; i < route->n_targets; i++) {
        free(route->targets[i].value);
        free(route->targets[i].publisher);
    }
    free(route->name);
    free(route->matches);
    free(route->header);
    free(route->publisher);
    free(route->targets);
    options_free(route->rule_cfg);
    shared_state_free(route->rule_shared);
}

void route_table_clear(struct route_table *table)
{
    for (size_t i = 0; i < table->n_routes; i++)
        clear(&table->routes[i]);
    free(table->routes);
    free(table->fallback);
    *table =
        (struct route_table){.publishers = table->publishers, .n_publishers = table->n_publishers};
}
