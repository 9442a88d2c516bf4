/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/claim_batch.h"

#define QUARANTINE_US INT64_C(60000000)

size_t row_quarantine_expire(struct store *s)
{
    struct row_quarantine *q = &s->quarantine;
    int64_t now = q->n ? deadline_now_us(&s->conn.deadline) : 0;
    size_t n = 0;
    while (n < q->n && q->until_us[n] <= now)
        n++;
    q->n -= n;
    memmove(q->seqs, q->seqs + n, q->n * sizeof *q->seqs);
    memmove(q->until_us, q->until_us + n, q->n * sizeof *q->until_us);
    return q->n;
}

bool row_quarantine_add(struct store *s, int64_t seq, const char *why)
{
    struct row_quarantine *q = &s->quarantine;
    size_t n = row_quarantine_expire(s);
    for (size_t i = 0; i < n; i++)
        if (q->seqs[i] == seq)
            return true;
    if (n == ROW_QUARANTINE_MAX)
        return false;
    outbox_logf(s->host, OUTBOX_LOG_ERROR,
                "the row with seq %lld of %s.%s cannot be changed, and is not claimed for a "
                "minute; look at the table's indexes, checks and triggers, or delete the row: %s",
                (long long)seq, s->conn.schema, s->name.table, why);
    q->seqs[n] = seq;
    q->until_us[n] = deadline_now_us(&s->conn.deadline) + QUARANTINE_US;
    q->n++;
    return true;
}
