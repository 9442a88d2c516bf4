/* SPDX-License-Identifier: Apache-2.0 */
/* row_quarantine.c - rows that nothing can be done with: one such row must not stop all the others.
 */
#include "claim/unreadable_search.h"

#include <string.h>

#define AVOID_US INT64_C(60000000)

static void forget_first(struct store *s)
{
    s->n_avoided--;
    memmove(s->avoided, s->avoided + 1, s->n_avoided * sizeof *s->avoided);
    memmove(s->avoided_until, s->avoided_until + 1, s->n_avoided * sizeof *s->avoided_until);
}

size_t avoid_look(struct store *s)
{
    int64_t now = s->n_avoided ? s->host->monotonic_us(s->host) : 0;
    while (s->n_avoided && s->avoided_until[0] <= now)
        forget_first(s);
    return s->n_avoided;
}

bool avoid_add(struct store *s, int64_t seq, const char *why)
{
    for (size_t i = 0; i < avoid_look(s); i++)
        if (s->avoided[i] == seq)
            return true;
    if (s->n_avoided == AVOIDED_MAX)
        return false;
    outbox_logf(s->host, OUTBOX_LOG_ERROR,
                "the row with seq %lld of %s.%s cannot be changed, and is left alone for a minute; "
                "look at the table's indexes, checks and triggers, or delete it: %s",
                (long long)seq, s->schema, s->name.table, why);
    s->avoided[s->n_avoided] = seq;
    s->avoided_until[s->n_avoided++] = s->host->monotonic_us(s->host) + AVOID_US;
    return true;
}
