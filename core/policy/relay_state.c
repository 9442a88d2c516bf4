/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/relay_state.h"

#include "common/utf8.h"

#include <json-c/json_visit.h>
#include <math.h>

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

/* NaN and infinities, which json-c reads and writes, are no JSON. */
static int find_no_number(struct json_object *value, int flags, struct json_object *parent,
                          const char *name, size_t *index, void *found)
{
    (void)flags;
    (void)parent;
    (void)name;
    (void)index;
    if (json_object_is_type(value, json_type_double) && !isfinite(json_object_get_double(value)))
        *(bool *)found = true;
    return JSON_C_VISIT_RETURN_CONTINUE;
}

struct json_object *relay_state(const struct outbox_relay_row *row)
{
    struct json_tokener *tokener = json_tokener_new();
    struct json_object *state = NULL;
    bool bad = false;
    if (tokener && row->state.p && row->state.n < INT32_MAX &&
        utf8_is_clean(row->state.p, (size_t)row->state.n))
        state = json_tokener_parse_ex(tokener, row->state.p, (int)row->state.n);
    if (tokener)
        json_tokener_free(tokener);
    if (state)
        json_c_visit(state, 0, find_no_number, &bad);
    if (json_object_is_type(state, json_type_object) && !bad)
        return state;
    json_object_put(state);
    return NULL;
}
