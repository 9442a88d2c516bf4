/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owed.c - a message was sent, and its row is set aside since it could not be changed. When its
 * time is over, that it is processed is written before anything is claimed: so it is not sent
 * again, if the row can be changed by then, and stays aside if not. Only a row that still is as it
 * was left is owed this.
 */
#include "settle/settle_sql.h"

/* $1: the row; $2: its address; $3: its lease. Is it as it was left, could it be locked, and was it
 * changed? */
#define OWED(where, change)                                                                     \
    "WITH ours AS MATERIALIZED (SELECT m.ctid FROM ONLY {t} m WHERE m.seq = $1 AND " where      \
    "  AND pg_catalog.cardinality($2) = 1 AND $3 IS NOT NULL), picked AS MATERIALIZED"          \
    " (SELECT m.ctid FROM ONLY {t} m JOIN ours ON m.ctid = ours.ctid FOR UPDATE OF m SKIP"      \
    "  LOCKED), changed AS (" change " picked WHERE m.ctid = picked.ctid RETURNING 1)"          \
    " SELECT (SELECT pg_catalog.count(*) FROM ours), (SELECT pg_catalog.count(*) FROM picked)," \
    " (SELECT pg_catalog.count(*) FROM changed)"
#define OURS_BY_LOCK "m.ctid = ANY ($2) AND m.status = 'pending'"
#define OURS_BY_LEASE "m.status = 'processing' AND m.lease = $3"
#define KEEP                                                                        \
    "UPDATE ONLY {t} m SET status = 'processed', processed_at = clock_timestamp()," \
    " available_at = NULL, last_error = '' FROM"
#define DELETE "DELETE FROM ONLY {t} m USING"

/* By enum claim_kind, then by whether it is deleted. */
static const char *const texts[][2] = {
    {OWED(OURS_BY_LOCK, KEEP), OWED(OURS_BY_LOCK, DELETE)},
    {OWED(OURS_BY_LEASE, KEEP), OWED(OURS_BY_LEASE, DELETE)},
};

void owed_add(const struct settle_sql *q, size_t i)
{
    const struct outbox_message *m = settle_sql_message(q, i);
    const struct outbox_settle *item = q->items[i];
    struct owed *owed = &q->s->owed;
    size_t at = 0;
    while (at < owed->n && owed->rows[at].seq != m->seq)
        at++;
    if (item->action != OUTBOX_SETTLE_DONE || at == QUARANTINE_MAX)
        return;
    owed->n += at == owed->n;
    owed->rows[at] = (struct owed_row){.seq = m->seq,
                                       .address = (int64_t)m->handle,
                                       .lease = q->c->token,
                                       .deletes = (item->flags & OUTBOX_SETTLE_DELETE) != 0};
}

/* *ret_left: it is still owed. */
static int write_one(struct store *s, const struct owed_row *row, bool *ret_left,
                     struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *counts;
    s->conn.sqlstate[0] = '\0';
    pg_args_int(&args, row->seq);
    pg_args_ctids(&args, &row->address, 1);
    pg_args_int(&args, row->lease);
    int r = pipeline_query(&s->conn, STMT_NONE, texts[s->mode->kind][row->deletes], &args, &counts,
                           err);
    bool ours = r == OUTBOX_OK && pg_column_int(counts, 0, 0) > 0;
    bool picked = r == OUTBOX_OK && pg_column_int(counts, 0, 1) > 0;
    bool changed = r == OUTBOX_OK && pg_column_int(counts, 0, 2) > 0;
    PQclear(counts);
    if (r < 0 && !failure_may_be_a_row(&s->conn))
        return r;
    *ret_left = r < 0 || (ours && !changed);
    if (*ret_left)
        store_set_aside(s, row->seq,
                        r < 0    ? s->conn.words
                        : picked ? SETTLE_SKIPPED
                                 : SETTLE_LOCKED);
    else
        quarantine_remove(&s->quarantine, row->seq);
    return OUTBOX_OK;
}

int owed_write(struct store *s, struct outbox_err *err)
{
    struct owed *owed = &s->owed;
    int64_t now = owed->n > 0 ? deadline_now_us(&s->conn.deadline) : 0;
    int r = OUTBOX_OK;
    for (size_t i = 0; r == OUTBOX_OK && i < owed->n;) {
        bool left = true;
        if (!quarantine_has(&s->quarantine, owed->rows[i].seq, now))
            r = write_one(s, &owed->rows[i], &left, err);
        if (left)
            i++;
        else
            owed->rows[i] = owed->rows[--owed->n];
    }
    return r;
}
