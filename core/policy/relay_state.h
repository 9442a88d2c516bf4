/* SPDX-License-Identifier: Apache-2.0 */
/* relay_state.h - what a relay wrote of itself into its row, and what that row says of it. */
#ifndef CORE_POLICY_RELAY_STATE_H
#define CORE_POLICY_RELAY_STATE_H

#include <outbox/store.h>

#include <json-c/json.h>

/* A relay counts as live for so long after its row was written last, microseconds. */
#define RELAY_LIVE_US INT64_C(90000000)

/* A JSON object, any, since another version may have written it; NULL when it is none. For
 * json_object_put. */
struct json_object *relay_state(const struct outbox_relay_row *row);

#endif
