/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lineage.h - what the relays of one process share that follow each other at a reload, each with
 * the next configuration. Any thread; `lock` protects what no word says more of.
 */
#pragma once

#include "plugin/store.h"
#include "policy/activity.h"
#include "policy/breaker.h"
#include "policy/poison.h"

#include <outbox/store.h>

#include <json-c/json.h>
#include <stdatomic.h>

/* What all workers know of a publisher, also those of the next relay if it keeps the publisher. */
struct publisher_common {
    _Atomic unsigned owners;
    struct breaker breaker;
    _Atomic uint64_t accepted; /* counted when they are settled */
    _Atomic uint64_t retried;
    _Atomic uint64_t failed;
    _Atomic int64_t passed_us; /* it answered for a message, monotonic */
    _Atomic bool awaited;      /* since it was suspended there were messages for it */
    struct activity_done done; /* an outcome was settled */
};

struct publisher_common *publisher_common_new(void); /* NULL without memory */
struct publisher_common *publisher_common_share(struct publisher_common *common);
/* By each owner; NULL is allowed. */
void publisher_common_free(struct publisher_common *common);

/* The relay's row in the store, and the instance that writes it and holds its lock. The next relay
 * goes on with it, if it has the same name and the same store. */
struct relay_row {
    _Atomic unsigned owners;
    char id[37];
    _Atomic bool predecessors_loaded;
    pthread_mutex_t lock; /* of `store`, and of the order of writes */
    struct store store;   /* to be opened by who made the row */
};

struct relay_row *relay_row_share(struct relay_row *row);
/* By each owner at its end: the last one closes the store. NULL is allowed. */
void relay_row_close(struct relay_row *row);
/* By each owner, after that; NULL is allowed. */
void relay_row_free(struct relay_row *row);

struct lineage {
    _Atomic unsigned owners;
    char id[37]; /* a random UUID; those of its rows begin alike, see lineage_has */
    struct poison poison;
    pthread_mutex_t lock;
    struct inherited *inherited; /* rows of dead relays that poison has learned from */
    size_t n_inherited;
    struct json_object *reload; /* how the last reload went; NULL: there was none */
};

struct lineage *lineage_new(void); /* NULL without memory */
struct lineage *lineage_share(struct lineage *lineage);
void lineage_free(struct lineage *lineage); /* by each owner; NULL is allowed */

/* One more row, with an id that tells the process. NULL without memory. */
struct relay_row *lineage_new_row(const struct lineage *lineage);
/* Is this the row of a relay of this process? */
bool lineage_has(const struct lineage *lineage, const struct outbox_relay_row *row);

/* Has one of the relays dealt with the death of the relay of this row? */
bool lineage_knows(struct lineage *lineage, const struct outbox_relay_row *row);
/* It has. OUTBOX_E_RETRY: no memory. */
int lineage_remember(struct lineage *lineage, const struct outbox_relay_row *row);

/* For the state in the relay's row; takes the object. */
void lineage_set_reload(struct lineage *lineage, struct json_object *reload);
int lineage_add_state(struct lineage *lineage, struct json_object *state);
