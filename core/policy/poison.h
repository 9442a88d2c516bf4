/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poison.h - a message that kills its relay is found (promise 10).
 *
 * While a relay follows one that ended uncleanly, it publishes one chunk at a time, and before each
 * chunk its ids are committed to the relay's row. When it dies, too, the next relay reads there
 * which messages were in flight: the suspects, which then go out in halves. A message that was
 * alone in flight is found: it goes out alone until it is accepted or dead, and is charged for each
 * further death. The first one charges nobody: whoever kills relays for another reason may meet a
 * message alone, too. All other messages go out as always, uncharged.
 *
 * Shared by all workers. The worker whose chunk is in flight holds `chunk_lock` from poison_record
 * to poison_clear; `lock` protects the fields below it, and is held within calls only.
 */
#pragma once

#include <outbox/store.h>

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Lists of ids, which are also the members of the state in the relay's row. */
enum poison_list {
    POISON_IN_FLIGHT,
    POISON_SUSPECTS, /* were in flight together at a death */
    POISON_FOUND,    /* were alone in flight */
    POISON_CHARGES,  /* of these, those to be charged when they are claimed */
    POISON_LISTS
};

struct poison {
    pthread_mutex_t chunk_lock;
    pthread_mutex_t lock;
    _Atomic bool on;
    int64_t until_us;      /* monotonic: a message of the dead relay on no list may come before */
    size_t suspects_limit; /* so many suspects go out at once */
    struct json_object *lists[POISON_LISTS]; /* arrays of strings; NULL: empty */
};

void poison_init(struct poison *p);
void poison_destroy(struct poison *p);

/* A predecessor ended uncleanly and left this state (NULL: none that can be read). */
void poison_begin(struct poison *p, struct json_object *state, int64_t until_us);
/* Would that charge a message? */
bool poison_would_charge(struct json_object *state);
/* Adds to a relay's state what its successor has to know. */
int poison_add_state(struct poison *p, struct json_object *state);

/* Must chunks be recorded? Not before a death, and not long after one. */
bool poison_is_suspected(struct poison *p);

/* True once for each charge: this message killed its relay. */
bool poison_pop_charge(struct poison *p, struct outbox_str id);

/*
 * Waits until no other chunk is in flight, lists the first of these n messages (at least one) as in
 * flight, and returns how many; 0: no memory. The caller commits that with the relay's row,
 * publishes, and calls poison_clear, also after a failure.
 */
size_t poison_record(struct poison *p, const struct outbox_message *const *msgs, size_t n);
/* Nothing is in flight any more. `survived`: the messages were published, and are cleared of
 * suspicion. */
void poison_clear(struct poison *p, bool survived);
