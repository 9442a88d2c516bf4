/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/poison.h"

#include "base/clock.h"
#include "policy/relay_state.h"

#include <outbox/helpers.h>

#include <string.h>

/* Suspects that were not claimed for this long after `until_us` went to another relay, or were
 * discarded. */
#define FORGET_US (INT64_C(900) * 1000000)
/* Ids that are committed at once. */
#define CHUNK_MAX 500
/* More ids in a list are none that a relay wrote; they are searched one by one. */
#define LIST_MAX 1000

static const char *const list_names[POISON_LISTS] = {"in_flight", "suspects", "alone", "charges"};

/* ---- lists: short enough to be searched from the front once a chunk ---- */

static size_t length(const struct json_object *list)
{
    return list ? json_object_array_length(list) : 0;
}

static struct outbox_str id_at(const struct json_object *list, size_t i)
{
    struct json_object *id = json_object_array_get_idx(list, i);
    return (struct outbox_str){json_object_get_string(id),
                               (uint64_t)json_object_get_string_len(id)};
}

static size_t find(const struct json_object *list, struct outbox_str id)
{
    size_t i = 0;
    while (i < length(list) && !outbox_str_eq(id_at(list, i), id))
        i++;
    return i;
}

static bool has(const struct json_object *list, struct outbox_str id)
{
    return find(list, id) < length(list);
}

static int add(struct json_object **list, struct outbox_str id)
{
    if (has(*list, id) || length(*list) >= LIST_MAX)
        return OUTBOX_OK;
    if (!*list)
        *list = json_object_new_array();
    struct json_object *text = *list ? json_object_new_string_len(id.p, (int)id.n) : NULL;
    if (text && json_object_array_add(*list, text) == 0)
        return OUTBOX_OK;
    json_object_put(text);
    return OUTBOX_E_RETRY;
}

/* Was it there? */
static bool drop(struct json_object *list, struct outbox_str id)
{
    size_t i = find(list, id);
    return i < length(list) && json_object_array_del_idx(list, i, 1) == 0;
}

static void clear(struct json_object **list)
{
    json_object_put(*list);
    *list = NULL;
}

/* ---- life ---- */

void poison_init(struct poison *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->chunk_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
}

void poison_destroy(struct poison *p)
{
    for (size_t i = 0; i < POISON_LISTS; i++)
        clear(&p->lists[i]);
    pthread_mutex_destroy(&p->chunk_lock);
    pthread_mutex_destroy(&p->lock);
}

static void load(struct json_object *state, enum poison_list which, struct json_object **list)
{
    struct json_object *all = NULL, *ids = NULL;
    json_object_object_get_ex(state, "probation", &all);
    json_object_object_get_ex(all, list_names[which], &ids);
    if (!json_object_is_type(ids, json_type_array))
        return;
    for (size_t i = 0; i < length(ids) && i < LIST_MAX; i++)
        if (json_object_is_type(json_object_array_get_idx(ids, i), json_type_string))
            add(list, id_at(ids, i));
}

bool poison_would_charge(struct json_object *state)
{
    struct json_object *in_flight = NULL, *found = NULL;
    load(state, POISON_IN_FLIGHT, &in_flight);
    load(state, POISON_FOUND, &found);
    bool again = length(in_flight) == 1 && has(found, id_at(in_flight, 0));
    clear(&in_flight);
    clear(&found);
    return again;
}

void poison_begin(struct poison *p, struct json_object *state, int64_t until_us)
{
    struct json_object *in_flight = NULL, **suspects = &p->lists[POISON_SUSPECTS];
    pthread_mutex_lock(&p->lock);
    load(state, POISON_IN_FLIGHT, &in_flight);
    for (enum poison_list i = POISON_SUSPECTS; i < POISON_LISTS; i++)
        load(state, i, &p->lists[i]);
    if (length(in_flight) == 1) {
        struct outbox_str id = id_at(in_flight, 0);
        if (has(p->lists[POISON_FOUND], id))
            add(&p->lists[POISON_CHARGES], id);
        add(&p->lists[POISON_FOUND], id);
        drop(*suspects, id);
    } else if (in_flight) {
        /* One of these did it; the earlier suspects are cleared. */
        clear(suspects);
        *suspects = json_object_get(in_flight);
        p->suspects_limit = 0;
    }
    if (p->suspects_limit == 0)
        p->suspects_limit = (length(*suspects) + 1) / 2;
    p->until_us = until_us;
    p->on = true;
    pthread_mutex_unlock(&p->lock);
    clear(&in_flight);
}

int poison_add_state(struct poison *p, struct json_object *state)
{
    if (!p->on)
        return OUTBOX_OK;
    struct json_object *mine = relay_state_add(state, "probation");
    int r = mine ? OUTBOX_OK : OUTBOX_E_RETRY;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; r == 0 && i < POISON_LISTS; i++) {
        struct json_object *copy = NULL;
        if (length(p->lists[i]) > 0 && (r = json_object_deep_copy(p->lists[i], &copy, NULL)) == 0)
            r = json_object_object_add(mine, list_names[i], copy);
    }
    pthread_mutex_unlock(&p->lock);
    return r == 0 ? OUTBOX_OK : OUTBOX_E_RETRY;
}

bool poison_is_suspected(struct poison *p)
{
    if (!p->on)
        return false;
    int64_t now = clock_monotonic_us();
    pthread_mutex_lock(&p->lock);
    for (enum poison_list i = POISON_SUSPECTS; i < POISON_LISTS; i++)
        if (now >= p->until_us + FORGET_US)
            clear(&p->lists[i]);
    bool on = now < p->until_us || length(p->lists[POISON_SUSPECTS]) > 0 ||
              length(p->lists[POISON_FOUND]) > 0;
    p->on = on;
    pthread_mutex_unlock(&p->lock);
    return on;
}

/* ---- chunks ---- */

bool poison_pop_charge(struct poison *p, struct outbox_str id)
{
    if (!p->on)
        return false;
    pthread_mutex_lock(&p->lock);
    bool charged = drop(p->lists[POISON_CHARGES], id);
    pthread_mutex_unlock(&p->lock);
    return charged;
}

/* How many of the next messages may go out together with one of these. */
static size_t limit_for(const struct poison *p, struct outbox_str id)
{
    return has(p->lists[POISON_FOUND], id)      ? 1
           : has(p->lists[POISON_SUSPECTS], id) ? p->suspects_limit
                                                : CHUNK_MAX;
}

/* A chunk ends before a message that has another limit, so that a suspect's death is never that of
 * messages which were not with it before, and order is kept. */
size_t poison_record(struct poison *p, const struct outbox_message *const *msgs, size_t n)
{
    pthread_mutex_lock(&p->chunk_lock);
    pthread_mutex_lock(&p->lock);
    size_t limit = limit_for(p, msgs[0]->row_id), i = 0;
    int r = OUTBOX_OK;
    clear(&p->lists[POISON_IN_FLIGHT]);
    for (; r == 0 && i < n && i < limit && limit_for(p, msgs[i]->row_id) == limit; i++)
        r = add(&p->lists[POISON_IN_FLIGHT], msgs[i]->row_id);
    pthread_mutex_unlock(&p->lock);
    return r == 0 ? i : 0;
}

void poison_clear(struct poison *p, bool survived)
{
    struct json_object **in_flight = &p->lists[POISON_IN_FLIGHT];
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; survived && i < length(*in_flight); i++) {
        drop(p->lists[POISON_SUSPECTS], id_at(*in_flight, i));
        drop(p->lists[POISON_FOUND], id_at(*in_flight, i));
    }
    clear(in_flight);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->chunk_lock);
}
