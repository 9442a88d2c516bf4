/* SPDX-License-Identifier: Apache-2.0 */
/* settle_sql.c - the statements that settle rows, and their arguments. */
#include "settle/settle_sql.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

/* What last_error holds at most, bytes. */
#define REASON_MAX 4096
/* Until a message is sent again whose outcome the table refuses. */
#define PUT_OFF_MS 60000

/* Processed or deleted, with nothing to note: by far most of all. */
static enum part part_of(const struct settling *t, const struct outbox_settle *item)
{
    if (t->how == HOW_PUT_OFF || item->action != OUTBOX_SETTLE_DONE ||
        (item->flags & ~(uint32_t)OUTBOX_SETTLE_DELETE))
        return PART_CHANGE;
    return item->flags & OUTBOX_SETTLE_DELETE ? PART_DELETE : PART_KEEP;
}

/* ---- arguments ---- */

void settling_args_rows(struct args *args, const struct settling *t, const bool *part)
{
    struct store *s = t->s;
    size_t n = 0;
    uint64_t *ctids = arena_array(&s->scratch, t->n + 1, sizeof *ctids);
    int64_t *seqs = arena_array(&s->scratch, t->n + 1, sizeof *seqs);
    args->failed |= !ctids || !seqs;
    if (args->failed)
        return;
    for (size_t i = 0; i < t->n; i++) {
        if (!part[i])
            continue;
        ctids[n] = settling_message(t, i)->handle;
        seqs[n++] = settling_message(t, i)->seq;
    }
    if (s->claiming == CLAIM_LOCKS)
        args_ctids(args, ctids, n);
    else
        args_ints(args, seqs, n);
}

/* Any bytes, made fit for the column; `plain` for a database whose encoding has not all of UTF-8.
 */
static struct outbox_str reason_of(const struct settling *t, const struct outbox_settle *item)
{
    struct outbox_str none = {NULL, 0};
    char *text;
    if (!(item->flags & OUTBOX_SETTLE_REASON) || t->how != HOW_TOLD ||
        !(text = arena_alloc(&t->s->scratch, REASON_MAX + 1)))
        return none;
    size_t n = utf8_clean(item->reason.p ? item->reason.p : "", (size_t)item->reason.n, text,
                          REASON_MAX + 1);
    for (size_t i = 0; t->plain && i < n; i++)
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

static void args_changes(struct args *args, const struct settling *t, const bool *part)
{
    struct arena *arena = &t->s->scratch;
    struct outbox_str *statuses = arena_array(arena, t->n + 1, sizeof *statuses);
    struct outbox_str *reasons = arena_array(arena, t->n + 1, sizeof *reasons);
    int64_t *charges = arena_array(arena, t->n + 1, sizeof *charges);
    int64_t *delays = arena_array(arena, t->n + 1, sizeof *delays);
    size_t n = 0;
    args->failed |= !statuses || !reasons || !charges || !delays;
    if (args->failed)
        return;
    for (size_t i = 0; i < t->n; i++) {
        const struct outbox_settle *item = t->items[i];
        if (!part[i])
            continue;
        bool told = t->how != HOW_PUT_OFF;
        statuses[n] = outbox_cstr(told ? status_of(item) : "pending");
        reasons[n] = reason_of(t, item);
        charges[n] = told && (item->flags & OUTBOX_SETTLE_CHARGE);
        delays[n++] = told ? delay_of(item) : PUT_OFF_MS;
    }
    args_texts(args, statuses, n);
    args_ints(args, charges, n);
    args_texts(args, reasons, n);
    args_ints(args, delays, n);
}

/* ---- statements ---- */

/* A row whose lock is ours is found by its address, which nobody can have changed. */
#define BY_LOCK "m.ctid = ANY ($1)"
#define BY_LEASE "m.seq = ANY ($1) AND m.status = 'processing' AND m.lease = $2"
#define DELETE "DELETE FROM {t} m WHERE "
/* `lease` stays: it tells a settle whose answer was lost that it went through. */
#define KEEP                                                                                \
    "UPDATE {t} m SET status = 'processed', processed_at = clock_timestamp(), available_at" \
    " = NULL WHERE "
#define CHANGE(key, a, b, c, d)                                                                 \
    "UPDATE {t} m SET status = v.status, last_error = COALESCE(v.reason, m.last_error),"        \
    " retries = CASE WHEN m.retries < 2147483647 THEN m.retries + v.charge::int4"               \
    "  ELSE m.retries END,"                                                                     \
    " available_at = CASE WHEN v.delay > 0 THEN clock_timestamp() + v.delay::float8 * interval" \
    "  '1 millisecond' END,"                                                                    \
    " processed_at = CASE v.status WHEN 'processed' THEN clock_timestamp()"                     \
    "  ELSE m.processed_at END"                                                                 \
    " FROM unnest($1::" key "[], $" a "::text[], $" b "::int8[], $" c "::text[], $" d           \
    "::int8[]) AS v(key, status, charge, reason, delay) WHERE "
#define TELL " RETURNING m.seq"

/* By how rows are held, then by part. */
static const struct step statements[2][N_PARTS] = {
    {{.slot = SLOT_DELETE_LOCK, .sql = DELETE BY_LOCK},
     {.slot = SLOT_KEEP_LOCK, .sql = KEEP BY_LOCK},
     {.slot = SLOT_CHANGE_LOCK, .sql = CHANGE("tid", "2", "3", "4", "5") "m.ctid = v.key"}},
    {{.slot = SLOT_DELETE_LEASE, .sql = DELETE BY_LEASE TELL},
     {.slot = SLOT_KEEP_LEASE, .sql = KEEP BY_LEASE TELL},
     {.slot = SLOT_CHANGE_LEASE,
      .sql = CHANGE("int8", "3", "4", "5", "6") "m.seq = v.key AND m.status = 'processing' AND"
                                                " m.lease = $2" TELL}},
};

size_t settling_members(const struct settling *t, enum part part)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->part[i] = t->held[i] && part_of(t, t->items[i]) == part;
    return n;
}

size_t settling_add_parts(const struct settling *t, struct step *steps, size_t n, struct args *args)
{
    for (enum part part = 0; part < N_PARTS; part++) {
        if (settling_members(t, part) == 0)
            continue;
        args[part] = (struct args){.arena = &t->s->scratch};
        settling_args_rows(&args[part], t, t->part);
        if (t->s->claiming == CLAIM_LEASES)
            args_int(&args[part], t->c->token);
        if (part == PART_CHANGE)
            args_changes(&args[part], t, t->part);
        steps[n] = statements[t->s->claiming][part];
        steps[n++].args = &args[part];
    }
    return n;
}

/* ---- items by their rows ---- */

int settling_begin(struct settling *t)
{
    struct arena *arena = &t->s->scratch;
    uint32_t n = t->c->batch.n;
    t->wanted = arena_array(arena, t->n, sizeof *t->wanted);
    t->held = arena_array(arena, t->n, sizeof *t->held);
    t->part = arena_array(arena, t->n, sizeof *t->part);
    t->item_of = arena_array(arena, n, sizeof *t->item_of);
    if (!t->wanted || !t->held || !t->part || !t->item_of)
        return -1;
    for (size_t i = 0; i < t->n; i++) {
        uint32_t index = t->items[i]->index;
        t->item_of[index] = i + 1;
        t->wanted[i] = !t->c->apart[index];
        t->stale[i] = t->c->apart[index] == APART_STALE;
    }
    settling_retry(t);
    return 0;
}

void settling_retry(struct settling *t)
{
    for (size_t i = 0; i < t->n; i++) {
        t->held[i] = t->wanted[i];
        if (t->wanted[i])
            t->stale[i] = 0;
    }
}

const struct outbox_message *settling_message(const struct settling *t, size_t i)
{
    return t->c->batch.messages[t->items[i]->index];
}

size_t settling_find(const struct settling *t, int64_t seq)
{
    const struct outbox_message *const *messages = t->c->batch.messages;
    size_t low = 0, high = t->c->batch.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (messages[middle]->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == t->c->batch.n || messages[low]->seq != seq || t->item_of[low] == 0)
        return t->n;
    return t->item_of[low] - 1;
}
