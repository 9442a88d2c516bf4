/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/claim_batch.h"

#include <stdlib.h>

int batch_build_begin(struct batch_build *b, struct store *s, const struct outbox_claim *claim)
{
    *b = (struct batch_build){.store = s, .claim = claim};
    uint64_t share = claim->max_bytes / claim->limit;
    b->inline_max = share < claim->max_message ? share : claim->max_message;
    b->messages = arena_array(&s->claim.arena, claim->limit, sizeof *b->messages);
    b->large = arena_array(&s->claim.arena, claim->limit, sizeof *b->large);
    b->excess = arena_array(&s->claim.arena, claim->limit, sizeof *b->excess);
    return b->messages && b->large && b->excess ? OUTBOX_OK : OUTBOX_E_RETRY;
}

struct place {
    int64_t seq;
    int row;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* Marks a message that has not come whole; a leased row may be deleted by anybody. */
static const char missing[] = "its row is gone";

/* One larger message travels alone. */
static void count_bytes(struct batch_build *b, uint64_t bytes)
{
    uint64_t left = b->claim->max_bytes - b->bytes;
    b->bytes += bytes < left ? bytes : left;
}

/* False without memory. */
static bool add_row(struct batch_build *b, const PGresult *rows, int row)
{
    const struct outbox_claim *claim = b->claim;
    struct message_limits limits = message_limits_of(claim);
    struct message_sizes sizes = row_sizes(rows, row, ROW_HEADERS_MAX, &limits);
    /* What is over a limit is marked, not loaded. */
    uint64_t bytes = message_sizes_over(&sizes, &limits) ? 0 : message_sizes_sum(&sizes);
    b->full |= b->n == claim->limit || (b->n > 0 && bytes > claim->max_bytes - b->bytes);
    if (b->full) {
        if (b->n_excess < claim->limit)
            b->excess[b->n_excess++] = pg_column_int(rows, row, ROW_SEQ);
        return true;
    }
    bool whole;
    struct outbox_message *m =
        row_message(rows, row, ROW_HEADERS_MAX, &limits, &b->store->claim.arena, &whole);
    if (!m)
        return false;
    if (!whole && !m->defect.p) {
        b->large[b->n_large++] = m->seq;
        m->defect = outbox_cstr(missing);
    }
    count_bytes(b, bytes);
    count_bytes(b, m->n_headers * sizeof *m->headers);
    b->messages[b->n++] = m;
    return true;
}

int batch_build_rows(struct batch_build *b, PGresult *rows, struct outbox_err *err)
{
    struct store *s = b->store;
    int n = PQntuples(rows);
    struct place *places = arena_array(&s->conn.scratch, (size_t)n + 1, sizeof *places);
    s->claim.rows[s->claim.n_rows++] = rows;
    if (!places)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < n; i++)
        places[i] = (struct place){pg_column_int(rows, i, 0), i};
    if (n > 1) /* what UPDATE returns has no order */
        qsort(places, (size_t)n, sizeof *places, compare_places);
    for (int i = 0; i < n; i++)
        if (!add_row(b, rows, places[i].row))
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

static int compare_messages(const void *a, const void *b)
{
    const struct outbox_message *x = *(struct outbox_message *const *)a;
    const struct outbox_message *y = *(struct outbox_message *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static void drop_missing(struct batch_build *b)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->n; i++)
        if (b->messages[i]->defect.p != missing)
            b->messages[kept++] = b->messages[i];
    b->n = kept;
}

/* Reads what a message has too much of to come with its row: row `i` of the result. */
static int add_large(struct batch_build *b, const PGresult *rows, int i, struct outbox_message *m)
{
    struct arena *arena = &b->store->claim.arena;
    struct message_limits limits = message_limits_of(b->claim);
    struct message_sizes sizes = {.headers = (uint64_t)pg_column_int(rows, i, 5)};
    m->defect = (struct outbox_str){NULL, 0};
    m->topic = pg_column_text(rows, i, 1);
    m->key = pg_column_text(rows, i, 2);
    m->payload = pg_column_text(rows, i, 3);
    int r = message_row_check(&sizes, &limits, arena, m);
    return r < 0 ? r : message_row_headers(pg_column_text(rows, i, 4), &limits, arena, m);
}

static int load_large(struct batch_build *b, struct outbox_err *err)
{
    struct store *s = b->store;
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *rows;
    pg_args_ints(&args, b->large, b->n_large);
    pg_args_int(&args, (int64_t)message_limits_of(b->claim).max_header_bytes);
    int r = pipeline_query(&s->conn, STMT_PAYLOADS,
                           "SELECT m.seq, m.topic, m.key, m.payload,"
                           " CASE WHEN pg_catalog.octet_length(h.text) <= $2 THEN h.text END,"
                           " pg_catalog.octet_length(h.text) FROM ONLY {t} m"
                           " CROSS JOIN LATERAL (SELECT m.headers::text OFFSET 0) h (text)"
                           " WHERE m.seq = ANY($1)",
                           &args, &rows, err);
    if (r < 0)
        return r;
    s->claim.rows[s->claim.n_rows++] = rows;
    for (int i = 0; i < PQntuples(rows); i++) {
        uint32_t at = row_find((const struct outbox_message *const *)b->messages, b->n,
                               pg_column_int(rows, i, 0));
        if (at < b->n && add_large(b, rows, i, b->messages[at]) < 0)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    drop_missing(b);
    return OUTBOX_OK;
}

/*
 * The invariant of a batch: its messages are sorted by seq, and no two have the same. Rows come by
 * several statements in no order; row_find() searches by seq, here and for a settle, and a host
 * publishes in the order of the batch.
 */
int batch_build_end(struct batch_build *b, struct outbox_err *err)
{
    if (b->n > 1)
        qsort(b->messages, b->n, sizeof *b->messages, compare_messages);
    return b->n_large > 0 ? load_large(b, err) : OUTBOX_OK;
}
