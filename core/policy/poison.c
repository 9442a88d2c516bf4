/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/poison.h"

#include "base/clock.h"
#include "common/message_json.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

/* A message may wait so long for its next try. */
#define FORGET_US (INT64_C(900) * 1000000)
/* Ids of a chunk that are committed at once. */
#define CHUNK_MAX 500

/* ---- lists ---- */

static size_t list_find(const struct id_list *list, struct outbox_str id)
{
    size_t i = 0;
    while (i < list->n && !outbox_str_eq(outbox_cstr(list->ids[i]), id))
        i++;
    return i;
}

static bool list_has(const struct id_list *list, struct outbox_str id)
{
    return list->n > 0 && list_find(list, id) < list->n;
}

static int list_add(struct id_list *list, struct outbox_str id)
{
    char **grown;
    if (list_has(list, id))
        return 0;
    if (!(grown = reallocarray(list->ids, list->n + 1, sizeof *grown)))
        return -1;
    list->ids = grown;
    if (!(grown[list->n] = strndup(id.p, (size_t)id.n)))
        return -1;
    list->n++;
    return 0;
}

static void list_remove(struct id_list *list, struct outbox_str id)
{
    size_t i = list->n > 0 ? list_find(list, id) : 0;
    if (i >= list->n)
        return;
    free(list->ids[i]);
    list->ids[i] = list->ids[--list->n];
}

static void list_clear(struct id_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->ids[i]);
    free(list->ids);
    *list = (struct id_list){NULL, 0};
}

/* ---- as JSON ---- */

static int put_list(struct json_object *state, const char *name, const struct id_list *list)
{
    struct json_object *array;
    if (list->n == 0)
        return 0;
    if (!(array = json_object_new_array()))
        return -1;
    for (size_t i = 0; i < list->n; i++)
        if (json_object_array_add(array, json_object_new_string(list->ids[i])) < 0) {
            json_object_put(array);
            return -1;
        }
    return json_object_object_add(state, name, array);
}

static void take_list(struct json_object *state, const char *name, struct id_list *list)
{
    struct json_object *array = NULL;
    if (!json_object_object_get_ex(state, name, &array) ||
        !json_object_is_type(array, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        struct json_object *id = json_object_array_get_idx(array, i);
        if (json_object_is_type(id, json_type_string))
            list_add(list, outbox_cstr(json_object_get_string(id)));
    }
}

/* ---- life ---- */

void poison_init(struct poison *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
}

void poison_destroy(struct poison *p)
{
    list_clear(&p->suspects);
    list_clear(&p->alone);
    list_clear(&p->charges);
    list_clear(&p->in_flight);
    pthread_mutex_destroy(&p->turn);
    pthread_mutex_destroy(&p->lock);
}

void poison_begin(struct poison *p, struct json_object *state, int64_t until_us)
{
    struct id_list in_flight = {NULL, 0};
    struct json_object *told = NULL;
    if (state)
        json_object_object_get_ex(state, "probation", &told);
    pthread_mutex_lock(&p->lock);
    if (told) {
        take_list(told, "in_flight", &in_flight);
        take_list(told, "alone", &p->alone);
        take_list(told, "charges", &p->charges);
        take_list(told, "suspects", &p->suspects);
    }
    if (in_flight.n == 1) {
        list_add(&p->alone, outbox_cstr(in_flight.ids[0]));
        list_add(&p->charges, outbox_cstr(in_flight.ids[0]));
        list_remove(&p->suspects, outbox_cstr(in_flight.ids[0]));
    } else if (in_flight.n > 1) {
        /* Who was in flight is among these; the earlier suspects are cleared. */
        list_clear(&p->suspects);
        p->suspects = in_flight;
        in_flight = (struct id_list){NULL, 0};
        p->half = (p->suspects.n + 1) / 2;
    }
    if (p->half == 0)
        p->half = (p->suspects.n + 1) / 2;
    p->until_us = until_us;
    p->on = true;
    pthread_mutex_unlock(&p->lock);
    list_clear(&in_flight);
}

int poison_add_state(struct poison *p, struct json_object *state)
{
    struct json_object *mine = json_object_new_object();
    int r = mine ? 0 : -1;
    pthread_mutex_lock(&p->lock);
    bool any = p->on || p->alone.n > 0;
    if (r == 0 && any)
        r = put_list(mine, "in_flight", &p->in_flight) | put_list(mine, "suspects", &p->suspects) |
            put_list(mine, "alone", &p->alone) | put_list(mine, "charges", &p->charges);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && any)
        return json_object_object_add(state, "probation", mine);
    json_object_put(mine);
    return r;
}

/* Those who do not come again are with another relay, or were discarded. */
static void forget(struct poison *p)
{
    list_clear(&p->suspects);
    list_clear(&p->alone);
    list_clear(&p->charges);
}

bool poison_is_suspected(struct poison *p)
{
    if (!p->on)
        return false;
    int64_t now = clock_monotonic_us();
    pthread_mutex_lock(&p->lock);
    if (now >= p->until_us + FORGET_US)
        forget(p);
    if (p->suspects.n == 0 && p->alone.n == 0 && now >= p->until_us)
        p->on = false;
    bool on = p->on;
    pthread_mutex_unlock(&p->lock);
    return on;
}

/* ---- chunks ---- */

bool poison_pop_charge(struct poison *p, struct outbox_str id)
{
    if (!p->on)
        return false;
    pthread_mutex_lock(&p->lock);
    bool takes = list_has(&p->charges, id);
    if (takes)
        list_remove(&p->charges, id);
    pthread_mutex_unlock(&p->lock);
    return takes;
}

size_t poison_chunk_limit(struct poison *p, const struct outbox_message *const *msgs, size_t n)
{
    size_t cut = 1;
    n = n < CHUNK_MAX ? n : CHUNK_MAX;
    pthread_mutex_lock(&p->lock);
    if (!list_has(&p->alone, msgs[0]->row_id)) {
        bool suspect = list_has(&p->suspects, msgs[0]->row_id);
        size_t most = suspect && p->half < n ? p->half : n;
        while (cut < most && !list_has(&p->alone, msgs[cut]->row_id) &&
               list_has(&p->suspects, msgs[cut]->row_id) == suspect)
            cut++;
    }
    pthread_mutex_unlock(&p->lock);
    return cut;
}

int poison_record(struct poison *p, const struct outbox_message *const *msgs, size_t n)
{
    int r = 0;
    pthread_mutex_lock(&p->turn);
    pthread_mutex_lock(&p->lock);
    list_clear(&p->in_flight);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = list_add(&p->in_flight, msgs[i]->row_id);
    pthread_mutex_unlock(&p->lock);
    return r;
}

void poison_withdraw(struct poison *p)
{
    pthread_mutex_lock(&p->lock);
    list_clear(&p->in_flight);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}

void poison_clear(struct poison *p)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->in_flight.n; i++) {
        struct outbox_str id = outbox_cstr(p->in_flight.ids[i]);
        list_remove(&p->suspects, id);
        list_remove(&p->alone, id);
    }
    list_clear(&p->in_flight);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}
