/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/relay_state.h"

#include "common/json.h"

#define DEPTH_MAX 32

bool relay_state_is_live(const struct outbox_relay_page *page, const struct outbox_relay_row *row)
{
    uint32_t lives = OUTBOX_HAS(row, lives) ? row->lives : OUTBOX_RELAY_UNKNOWN;
    if (row->clean || lives == OUTBOX_RELAY_DEAD)
        return false;
    return lives == OUTBOX_RELAY_LIVES || page->now_us - row->alive_us <= RELAY_LIVE_US;
}

struct json_object *relay_state_add(struct json_object *parent, const char *name)
{
    struct json_object *object = parent ? json_object_new_object() : NULL;
    if (!object || json_object_object_add(parent, name, object) == 0)
        return object;
    json_object_put(object);
    return NULL;
}

struct json_object *relay_state(const struct outbox_relay_row *row)
{
    return row->state.p ? json_read_object(row->state.p, (size_t)row->state.n, DEPTH_MAX) : NULL;
}
