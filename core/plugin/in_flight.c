/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/in_flight.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST_PLACES 64

static size_t home(const struct in_flight *set, const struct outbox_outcome *outcome)
{
    uint64_t mixed = (uint64_t)(uintptr_t)outcome * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 32) & (set->n_places - 1);
}

static size_t after(const struct in_flight *set, size_t place)
{
    return (place + 1) & (set->n_places - 1);
}

int in_flight_reserve(struct in_flight *set, size_t more)
{
    struct in_flight bigger = {.n_places = set->n_places ? set->n_places : FIRST_PLACES};
    while (bigger.n_places / 2 < set->n + more)
        bigger.n_places *= 2;
    if (bigger.n_places == set->n_places)
        return OUTBOX_OK;
    bigger.places = calloc(bigger.n_places, sizeof *bigger.places);
    if (!bigger.places)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < set->n_places; i++)
        if (set->places[i])
            in_flight_add(&bigger, set->places[i]);
    in_flight_clear(set);
    *set = bigger;
    return OUTBOX_OK;
}

void in_flight_add(struct in_flight *set, const struct outbox_outcome *outcome)
{
    size_t place = home(set, outcome);
    while (set->places[place])
        place = after(set, place);
    set->places[place] = outcome;
    set->n++;
}

bool in_flight_remove(struct in_flight *set, const struct outbox_outcome *outcome)
{
    if (set->n == 0 || !outcome)
        return false;
    size_t place = home(set, outcome);
    while (set->places[place] && set->places[place] != outcome)
        place = after(set, place);
    if (!set->places[place])
        return false;
    set->places[place] = NULL;
    set->n--;
    /* What had to go on past this place is found no more unless it is put anew. */
    for (place = after(set, place); set->places[place]; place = after(set, place)) {
        const struct outbox_outcome *moved = set->places[place];
        set->places[place] = NULL;
        set->n--;
        in_flight_add(set, moved);
    }
    return true;
}

void in_flight_clear(struct in_flight *set)
{
    free(set->places);
    *set = (struct in_flight){0};
}
