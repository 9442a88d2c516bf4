/* SPDX-License-Identifier: Apache-2.0 */
#include "settle/settle_sql.h"
#include "common/utf8.h"

/* What last_error holds at most, bytes. */
#define REASON_MAX 4096

/* ---- items and their rows ---- */

int settle_sql_begin(struct settle_sql *q, struct outbox_err *err)
{
    struct arena *arena = &q->s->conn.scratch;
    q->wanted = arena_array(arena, q->n, sizeof *q->wanted);
    q->marked = arena_array(arena, q->n, sizeof *q->marked);
    q->open = arena_array(arena, q->n, sizeof *q->open);
    q->item_of = arena_array(arena, q->c->batch.n, sizeof *q->item_of);
    if (!q->wanted || !q->marked || !q->open || !q->item_of)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < q->n; i++)
        q->item_of[q->items[i]->index] = i + 1;
    return OUTBOX_OK;
}

size_t settle_sql_want(struct settle_sql *q, size_t from, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++) {
        q->wanted[i] = i >= from && i - from < count && *settle_sql_state(q, i) < ROW_SETTLED;
        n += q->wanted[i];
    }
    return n;
}

const struct outbox_message *settle_sql_message(const struct settle_sql *q, size_t i)
{
    return q->c->batch.messages[q->items[i]->index];
}

uint8_t *settle_sql_state(const struct settle_sql *q, size_t i)
{
    return &q->c->states[q->items[i]->index];
}

size_t settle_sql_find(const struct settle_sql *q, int64_t seq)
{
    uint32_t n = q->c->batch.n, index = row_find(q->c->batch.messages, n, seq);
    return index < n && q->item_of[index] > 0 ? q->item_of[index] - 1 : q->n;
}

bool settle_sql_has(const struct settle_sql *q, size_t i, enum settle_mode mode)
{
    const struct outbox_settle *item = q->items[i];
    bool second = OUTBOX_HAS(item, refused_delay_ms) && item->refused_action;
    switch (mode) {
    case SETTLE_KEPT:
        return item->action == OUTBOX_SETTLE_DONE && (item->flags & OUTBOX_SETTLE_DELETE);
    case SETTLE_WITHOUT_REASON:
        return (item->flags & OUTBOX_SETTLE_REASON) != 0;
    case SETTLE_SECOND:
        return second;
    case SETTLE_SECOND_WITHOUT_REASON:
        return second && (item->refused_flags & OUTBOX_SETTLE_REASON);
    default:
        return true;
    }
}

/* What is written of it now. */
static struct outbox_settle outcome_of(const struct settle_sql *q, size_t i)
{
    const struct outbox_settle *item = q->items[i];
    struct outbox_settle how = {.action = item->action,
                                .flags = item->flags,
                                .delay_ms = item->delay_ms,
                                .reason = item->reason};
    if (q->mode == SETTLE_KEPT)
        how.flags &= ~OUTBOX_SETTLE_DELETE;
    if (q->mode >= SETTLE_SECOND)
        how = (struct outbox_settle){.action = item->refused_action,
                                     .flags = item->refused_flags,
                                     .delay_ms = item->refused_delay_ms,
                                     .reason = q->why};
    if (q->mode == SETTLE_WITHOUT_REASON || q->mode == SETTLE_SECOND_WITHOUT_REASON)
        how.flags &= ~OUTBOX_SETTLE_REASON;
    return how;
}

/* Processed or deleted, with nothing to note: by far most of all. */
static enum settle_part part_of(const struct outbox_settle *how)
{
    if (how->action != OUTBOX_SETTLE_DONE || (how->flags & ~OUTBOX_SETTLE_DELETE))
        return PART_CHANGE;
    return how->flags & OUTBOX_SETTLE_DELETE ? PART_DELETE : PART_KEEP;
}

size_t settle_sql_mark(const struct settle_sql *q, enum settle_part part)
{
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++) {
        struct outbox_settle how = outcome_of(q, i);
        q->marked[i] = q->wanted[i] && *settle_sql_state(q, i) == ROW_HELD && part_of(&how) == part;
        n += q->marked[i];
    }
    return n;
}

/* ---- arguments ---- */

void settle_sql_args(const struct settle_sql *q, struct pg_args *args)
{
    bool locks = q->s->mode->kind == CLAIM_LOCKS;
    int64_t *keys = arena_array(args->arena, q->n, sizeof *keys);
    size_t n = 0;
    args->failed |= !keys;
    for (size_t i = 0; keys && i < q->n; i++)
        if (q->marked[i])
            keys[n++] =
                locks ? (int64_t)settle_sql_message(q, i)->handle : settle_sql_message(q, i)->seq;
    if (!keys)
        return;
    if (locks) {
        pg_args_ctids(args, keys, n);
    } else {
        pg_args_ints(args, keys, n);
        pg_args_int(args, q->c->token);
    }
}

/* Any bytes, made fit for the column. */
static struct outbox_str reason_of(const struct settle_sql *q, const struct outbox_settle *item)
{
    struct outbox_str none = {item->action == OUTBOX_SETTLE_DONE ? "" : NULL, 0};
    char *text;
    if (!(item->flags & OUTBOX_SETTLE_REASON) ||
        !(text = arena_alloc(&q->s->conn.scratch, REASON_MAX + 1)))
        return none;
    size_t n = utf8_clean(item->reason.p ? item->reason.p : "", (size_t)item->reason.n, text,
                          REASON_MAX + 1);
    for (size_t i = 0; q->ascii && i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            text[i] = '?';
    return (struct outbox_str){text, n};
}

static const char *status_of(const struct outbox_settle *item)
{
    return item->action == OUTBOX_SETTLE_DONE    ? "processed"
           : item->action == OUTBOX_SETTLE_RETRY ? "pending"
                                                 : "failed";
}

static int64_t delay_of(const struct outbox_settle *item)
{
    if (item->action != OUTBOX_SETTLE_RETRY || item->delay_ms <= 0)
        return 0;
    return item->delay_ms > TIME_MAX_MS ? TIME_MAX_MS : item->delay_ms;
}

static void add_changes(const struct settle_sql *q, struct pg_args *args)
{
    struct outbox_str *statuses = arena_array(args->arena, q->n, sizeof *statuses);
    struct outbox_str *reasons = arena_array(args->arena, q->n, sizeof *reasons);
    int64_t *charges = arena_array(args->arena, q->n, sizeof *charges);
    int64_t *delays = arena_array(args->arena, q->n, sizeof *delays);
    size_t n = 0;
    args->failed |= !statuses || !reasons || !charges || !delays;
    for (size_t i = 0; i < q->n && !args->failed; i++) {
        struct outbox_settle how = outcome_of(q, i);
        if (!q->marked[i])
            continue;
        statuses[n] = outbox_cstr(status_of(&how));
        reasons[n] = reason_of(q, &how);
        charges[n] = (how.flags & OUTBOX_SETTLE_CHARGE) != 0;
        delays[n++] = delay_of(&how);
    }
    if (args->failed)
        return;
    pg_args_texts(args, statuses, n);
    pg_args_ints(args, charges, n);
    pg_args_texts(args, reasons, n);
    pg_args_ints(args, delays, n);
}

/* ---- statements ---- */

/* A row whose lock is ours is found by its address, which nobody can have changed; of this table
 * only, since every table has such addresses. */
#define BY_LOCK "m.ctid = ANY ($1) AND m.status = 'pending'"
#define BY_LEASE "m.seq = ANY ($1) AND m.status = 'processing' AND m.lease = $2"
#define DELETE "DELETE FROM ONLY {t} m WHERE "
/* `lease` stays: it shows after a lost answer that this settle was done. */
#define KEEP                                                                        \
    "UPDATE ONLY {t} m SET status = 'processed', processed_at = clock_timestamp()," \
    " available_at = NULL, last_error = '' WHERE "
#define CHANGE(key, a, b, c, d)                                                                 \
    "UPDATE ONLY {t} m SET status = v.status, last_error = COALESCE(v.reason, m.last_error),"   \
    " retries = CASE WHEN m.retries < 2147483647 THEN m.retries + v.charge::int4"               \
    "  ELSE COALESCE(m.retries, v.charge::int4) END,"                                           \
    " available_at = CASE WHEN v.delay > 0 THEN clock_timestamp() + v.delay::float8 * interval" \
    "  '1 millisecond' END,"                                                                    \
    " processed_at = CASE v.status WHEN 'processed' THEN clock_timestamp()"                     \
    "  ELSE m.processed_at END"                                                                 \
    " FROM unnest($1::" key "[], $" a "::text[], $" b "::int8[], $" c "::text[], $" d           \
    "::int8[]) AS v(key, status, charge, reason, delay) WHERE "
#define CHANGE_BY_LOCK CHANGE("tid", "2", "3", "4", "5") "m.ctid = v.key AND m.status = 'pending'"
#define RETURN_SEQ " RETURNING m.seq"

/* With locks at once, which needs no rows back; with leases; with locks in parts. */
static const struct step statements[][N_PARTS] = {
    {{.stmt = STMT_DELETE_LOCK, .sql = DELETE BY_LOCK},
     {.stmt = STMT_KEEP_LOCK, .sql = KEEP BY_LOCK},
     {.stmt = STMT_CHANGE_LOCK, .sql = CHANGE_BY_LOCK}},
    {{.stmt = STMT_DELETE_LEASE, .sql = DELETE BY_LEASE RETURN_SEQ},
     {.stmt = STMT_KEEP_LEASE, .sql = KEEP BY_LEASE RETURN_SEQ},
     {.stmt = STMT_CHANGE_LEASE,
      .sql = CHANGE("int8", "3", "4", "5", "6") "m.seq = v.key AND m.status = 'processing' AND"
                                                " m.lease = $2" RETURN_SEQ}},
    {{.sql = DELETE BY_LOCK RETURN_SEQ},
     {.sql = KEEP BY_LOCK RETURN_SEQ},
     {.sql = CHANGE_BY_LOCK RETURN_SEQ}},
};

size_t settle_sql_steps(const struct settle_sql *q, struct step *steps, struct pg_args *args)
{
    bool locks = q->s->mode->kind == CLAIM_LOCKS;
    const struct step *by_part = statements[!locks ? 1 : q->in_parts ? 2 : 0];
    size_t n = 0;
    for (enum settle_part part = 0; part < N_PARTS; part++) {
        if (settle_sql_mark(q, part) == 0)
            continue;
        if (q->no_rows)
            memset(q->marked, 0, q->n * sizeof *q->marked);
        args[n] = (struct pg_args){.arena = &q->s->conn.scratch};
        settle_sql_args(q, &args[n]);
        if (part == PART_CHANGE)
            add_changes(q, &args[n]);
        steps[n] = by_part[part];
        steps[n].args = &args[n];
        n++;
    }
    return n;
}
