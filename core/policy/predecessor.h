/* SPDX-License-Identifier: Apache-2.0 */
/* predecessor.h - from the relays' rows: which relay follows which, and which one is dead? */
#ifndef CORE_POLICY_PREDECESSOR_H
#define CORE_POLICY_PREDECESSOR_H

#include <outbox/store.h>

#include <json-c/json.h>
#include <stdbool.h>

/* Adds this process to a relay's state, so that others on this host can check whether it lives. */
int predecessor_add_self(struct json_object *state);

/*
 * Did the relay of this row end uncleanly, is it a predecessor of the relay `name` with the id
 * `self`, and has no other successor dealt with that yet?
 */
bool predecessor_is(const struct outbox_relay_page *page, const struct outbox_relay_row *row,
                    const char *name, const char *self);

#endif
