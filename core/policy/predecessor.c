/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/relay_state.h"

#include <outbox/helpers.h>

/* A successor that has run for so long has published what its predecessor held. */
#define SETTLED_US (INT64_C(600) * 1000000)

static bool is_dead(const struct outbox_relay_page *page, const struct outbox_relay_row *row)
{
    return !row->clean && !relay_state_is_live(page, row);
}

bool predecessor_is(const struct outbox_relay_page *page, const struct outbox_relay_row *row,
                    const char *name, const char *self)
{
    if (outbox_str_eq(row->id, outbox_cstr(self)) || !outbox_str_eq(row->name, outbox_cstr(name)) ||
        !is_dead(page, row))
        return false;
    for (uint32_t i = 0; i < page->n; i++) {
        const struct outbox_relay_row *other = page->rows[i];
        if (outbox_str_eq(other->id, outbox_cstr(self)) || !outbox_str_eq(other->name, row->name) ||
            other->started_us <= row->alive_us)
            continue;
        if (other->clean || page->now_us - other->started_us > SETTLED_US || is_dead(page, other))
            return false;
    }
    return true;
}
