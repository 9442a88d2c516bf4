/* SPDX-License-Identifier: Apache-2.0 */
/* relay_state.h - what a relay wrote of itself into its row, and what the rows say of relays. */
#pragma once

#include <outbox/store.h>

#include <json-c/json.h>
#include <stdbool.h>

/* A relay counts as live for so long after its row was written last, microseconds. */
#define RELAY_LIVE_US INT64_C(90000000)

/* Adds an empty object to a state or a part of one, and returns it. NULL without memory; `parent`
 * may be NULL, too. */
struct json_object *relay_state_add(struct json_object *parent, const char *name);

/* A JSON object, any, since another version may have written it; NULL when it is none. For
 * json_object_put. */
struct json_object *relay_state(const struct outbox_relay_row *row);

/* ---- predecessor.c: which relay follows which, and which one is dead? ---- */

/* Adds this process to a relay's state, so that others on this host can check whether it lives. */
int predecessor_add_self(struct json_object *state);

/*
 * Did the relay of this row end uncleanly, is it a predecessor of the relay `name` with the id
 * `self`, and has no other successor dealt with that yet?
 */
bool predecessor_is(const struct outbox_relay_page *page, const struct outbox_relay_row *row,
                    const char *name, const char *self);
