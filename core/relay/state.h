/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - how a relay is, as it writes it into its row; outboxd-status(8) has the members. */
#pragma once

#include "relay/context.h"

#include <json-c/json.h>

/* A JSON object, for json_object_put; NULL without memory. What changes by the mere passing of time
 * is not in it. */
struct json_object *state_new(struct relay *relay);
