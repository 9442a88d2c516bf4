/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poison.h - a message that kills its relay is found (promise 10).
 *
 * After a predecessor ended without saying so, a relay is on probation: it publishes one chunk at a
 * time, and before each the chunk's ids are committed to the relay's row. When it dies, too, the
 * next one reads there who was in flight: the suspects, which then go out in halves. A message that
 * was alone in flight is charged, and goes out alone from then on, until it is accepted or dead.
 * Everybody else goes out as always, uncharged.
 */
#ifndef CORE_POLICY_POISON_H
#define CORE_POLICY_POISON_H

#include <outbox/store.h>

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Ids, few enough to be looked through one by one once a chunk. */
struct id_list {
    char **ids;
    size_t n;
};

struct poison {
    pthread_mutex_t turn; /* one chunk at a time, from its record to its settling */
    pthread_mutex_t lock; /* of what follows */
    _Atomic bool on;
    int64_t until_us;        /* monotonic: while it is not known who was in flight */
    struct id_list suspects; /* were in flight together */
    size_t half;             /* so many of them go out at once */
    struct id_list alone;    /* were alone in flight: go out alone */
    struct id_list charges;  /* of these, are to be charged when they are claimed */
    struct id_list in_flight;
};

void poison_init(struct poison *p);
void poison_destroy(struct poison *p);

/* A predecessor ended uncleanly, with this state; suspects are unknown if it says none. */
void poison_begin(struct poison *p, struct json_object *state, int64_t until_us);
/* What a later relay has to know: members of its state. -1 without memory. */
int poison_add_state(struct poison *p, struct json_object *state);

/* Is it over? Then chunks need no record any more. */
bool poison_is_suspected(struct poison *p);

/* True once for each charge: this message killed its relay. */
bool poison_pop_charge(struct poison *p, struct outbox_str id);

/* How many of the next messages, in their order, may go out together: at least 1, at most n. */
size_t poison_chunk_limit(struct poison *p, const struct outbox_message *const *msgs, size_t n);

/* They are in flight from now on; waits for its turn. The caller commits that. -1 without memory;
 * the turn is the caller's all the same. */
int poison_record(struct poison *p, const struct outbox_message *const *msgs, size_t n);
/* They were not sent after all. */
void poison_withdraw(struct poison *p);
/* They have come back alive. */
void poison_clear(struct poison *p);

#endif
