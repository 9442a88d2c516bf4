/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/lineage.h"

#include "base/array.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid.h>

/* So many characters of an id are of the process, the others of one row. */
#define OF_PROCESS 23

struct inherited {
    char id[64]; /* cut, if somebody wrote a longer one */
};

/* ---- a publisher ---- */

struct publisher_common *publisher_common_new(void)
{
    struct publisher_common *common = calloc(1, sizeof *common);
    if (!common)
        return NULL;
    common->owners = 1;
    breaker_init(&common->breaker);
    return common;
}

struct publisher_common *publisher_common_share(struct publisher_common *common)
{
    atomic_fetch_add(&common->owners, 1);
    return common;
}

void publisher_common_free(struct publisher_common *common)
{
    if (!common || atomic_fetch_sub(&common->owners, 1) > 1)
        return;
    breaker_destroy(&common->breaker);
    free(common);
}

/* ---- the relays ---- */

static void new_id(char ret[37])
{
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, ret);
}

struct lineage *lineage_new(void)
{
    struct lineage *lineage = calloc(1, sizeof *lineage);
    if (!lineage)
        return NULL;
    lineage->owners = 1;
    new_id(lineage->id);
    poison_init(&lineage->poison);
    pthread_mutex_init(&lineage->lock, NULL);
    return lineage;
}

struct lineage *lineage_share(struct lineage *lineage)
{
    atomic_fetch_add(&lineage->owners, 1);
    return lineage;
}

void lineage_free(struct lineage *lineage)
{
    if (!lineage || atomic_fetch_sub(&lineage->owners, 1) > 1)
        return;
    poison_destroy(&lineage->poison);
    pthread_mutex_destroy(&lineage->lock);
    json_object_put(lineage->reload);
    free(lineage->inherited);
    free(lineage);
}

struct relay_row *lineage_new_row(const struct lineage *lineage)
{
    struct relay_row *row = calloc(1, sizeof *row);
    if (!row)
        return NULL;
    row->owners = 1;
    pthread_mutex_init(&row->lock, NULL);
    new_id(row->id);
    memcpy(row->id, lineage->id, OF_PROCESS);
    return row;
}

struct relay_row *relay_row_share(struct relay_row *row)
{
    atomic_fetch_add(&row->owners, 1);
    return row;
}

void relay_row_close(struct relay_row *row)
{
    if (row && row->owners == 1)
        store_close(&row->store);
}

void relay_row_free(struct relay_row *row)
{
    if (!row || atomic_fetch_sub(&row->owners, 1) > 1)
        return;
    store_close(&row->store);
    pthread_mutex_destroy(&row->lock);
    free(row);
}

bool lineage_has(const struct lineage *lineage, const struct outbox_relay_row *row)
{
    return row->id.p && row->id.n == 36 && memcmp(row->id.p, lineage->id, OF_PROCESS) == 0;
}

static struct inherited name(const struct outbox_relay_row *row)
{
    struct inherited of = {""};
    snprintf(of.id, sizeof of.id, "%.*s", (int)row->id.n, row->id.p ? row->id.p : "");
    return of;
}

bool lineage_knows(struct lineage *lineage, const struct outbox_relay_row *row)
{
    struct inherited of = name(row);
    bool known = false;
    pthread_mutex_lock(&lineage->lock);
    for (size_t i = 0; i < lineage->n_inherited; i++)
        known |= strcmp(lineage->inherited[i].id, of.id) == 0;
    pthread_mutex_unlock(&lineage->lock);
    return known;
}

int lineage_remember(struct lineage *lineage, const struct outbox_relay_row *row)
{
    pthread_mutex_lock(&lineage->lock);
    struct inherited *added =
        array_add(&lineage->inherited, &lineage->n_inherited, sizeof *lineage->inherited);
    if (added)
        *added = name(row);
    pthread_mutex_unlock(&lineage->lock);
    return added ? OUTBOX_OK : OUTBOX_E_RETRY;
}

void lineage_set_reload(struct lineage *lineage, struct json_object *reload)
{
    pthread_mutex_lock(&lineage->lock);
    json_object_put(lineage->reload);
    lineage->reload = reload;
    pthread_mutex_unlock(&lineage->lock);
}

int lineage_add_state(struct lineage *lineage, struct json_object *state)
{
    struct json_object *copy = NULL;
    int r = OUTBOX_OK;
    pthread_mutex_lock(&lineage->lock);
    if (lineage->reload && (r = json_object_deep_copy(lineage->reload, &copy, NULL)) == 0)
        r = json_object_object_add(state, "reload", copy);
    pthread_mutex_unlock(&lineage->lock);
    return r == 0 ? OUTBOX_OK : OUTBOX_E_RETRY;
}
