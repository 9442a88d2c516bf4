/* SPDX-License-Identifier: Apache-2.0 */
/*
 * in_flight.h - the outcomes that a plugin has got by submit and has not handed out yet: what it
 * hands out is looked up here before anybody reads it. One thread at a time.
 */
#pragma once

#include <outbox/publisher.h>

#include <stdbool.h>
#include <stddef.h>

/* A hash set of pointers. Zeroed: empty. */
struct in_flight {
    const struct outbox_outcome **places;
    size_t n_places; /* a power of two, more than half of them free; or 0 */
    size_t n;
};

/* Room for `more`. OUTBOX_E_RETRY: no memory. */
int in_flight_reserve(struct in_flight *set, size_t more);
void in_flight_add(struct in_flight *set, const struct outbox_outcome *outcome);
/* False: it is not there. */
bool in_flight_remove(struct in_flight *set, const struct outbox_outcome *outcome);
/* Forgets all, and frees the memory. */
void in_flight_clear(struct in_flight *set);
