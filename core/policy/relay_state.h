/* SPDX-License-Identifier: Apache-2.0 */
/* relay_state.h - what a relay wrote of itself into its row, and what the rows say of relays. */
#pragma once

#include <outbox/store.h>

#include <json-c/json.h>
#include <stdbool.h>

/* Where the database cannot tell, a relay counts as live for so long after its row was written
 * last, microseconds. */
#define RELAY_LIVE_US INT64_C(90000000)

/* Does the relay of this row still run? */
bool relay_state_is_live(const struct outbox_relay_page *page, const struct outbox_relay_row *row);

/* Adds an empty object to a state or a part of one, and returns it. NULL without memory; `parent`
 * may be NULL, too. */
struct json_object *relay_state_add(struct json_object *parent, const char *name);

/* A JSON object, any, since another version may have written it; NULL when it is none. For
 * json_object_put. */
struct json_object *relay_state(const struct outbox_relay_row *row);

/* ---- predecessor.c: which relay follows which? ---- */

/*
 * Did the relay of this row end uncleanly, is it a predecessor of the relay `name` with the id
 * `self`, and has no other successor dealt with that yet?
 */
bool predecessor_is(const struct outbox_relay_page *page, const struct outbox_relay_row *row,
                    const char *name, const char *self);
