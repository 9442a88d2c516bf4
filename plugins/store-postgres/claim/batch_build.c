/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch_build.c - rows become the messages of a batch, which holds so many bytes of payload and no
 * more.
 *
 * A claim loads only payloads, and headers, of which as many as it has rows fit; so one round trip
 * brings a batch of ordinary messages, and never more than may be. Larger ones are loaded
 * afterwards, as far as they fit; rows that do not fit are let go.
 */
#include "claim/batch_build.h"

#include <stdlib.h>

int gather_begin(struct gathering *g, struct store *s, const struct outbox_claim *claim)
{
    *g = (struct gathering){.store = s, .claim = claim};
    uint64_t share = claim->max_bytes / claim->limit;
    g->inline_max = share < claim->max_message ? share : claim->max_message;
    g->messages = arena_array(&s->claim_arena, claim->limit, sizeof *g->messages);
    g->large = arena_array(&s->claim_arena, claim->limit, sizeof *g->large);
    g->excess = arena_array(&s->claim_arena, claim->limit, sizeof *g->excess);
    return g->messages && g->large && g->excess ? 0 : -1;
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

/* False without memory. */
static bool add_row(struct gathering *g, const PGresult *rows, int row)
{
    const struct outbox_claim *claim = g->claim;
    bool left_out;
    uint64_t bytes = row_bytes(rows, row, &left_out);
    struct outbox_message *m = row_message(rows, row, &g->store->claim_arena, claim->max_message);
    if (!m)
        return false;
    if (left_out && m->defect.p)
        bytes = 0; /* too large: marked, not loaded */
    g->full |= g->n == claim->limit || (g->n > 0 && bytes > claim->max_bytes - g->bytes);
    if (g->full) {
        if (g->n_excess < claim->limit)
            g->excess[g->n_excess++] = m->seq;
        return true;
    }
    if (left_out && !m->defect.p)
        g->large[g->n_large++] = m->seq;
    /* one larger message travels alone */
    g->bytes = bytes > claim->max_bytes - g->bytes ? claim->max_bytes : g->bytes + bytes;
    g->messages[g->n++] = m;
    return true;
}

int gather_rows(struct gathering *g, PGresult *rows, struct outbox_err *err)
{
    struct store *s = g->store;
    int n = PQntuples(rows);
    struct place *places = arena_array(&s->scratch, (size_t)n + 1, sizeof *places);
    s->rows[s->n_rows++] = rows;
    if (!places)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < n; i++)
        places[i] = (struct place){column_int(rows, i, 0), i};
    if (n > 1) /* what UPDATE returns has no order */
        qsort(places, (size_t)n, sizeof *places, compare_places);
    for (int i = 0; i < n; i++)
        if (!add_row(g, rows, places[i].row))
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

static int compare_messages(const void *a, const void *b)
{
    const struct outbox_message *x = *(struct outbox_message *const *)a;
    const struct outbox_message *y = *(struct outbox_message *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

void gather_sort(struct gathering *g)
{
    if (g->n > 1)
        qsort(g->messages, g->n, sizeof *g->messages, compare_messages);
}

static struct outbox_message *find(const struct gathering *g, int64_t seq)
{
    struct outbox_message key = {.seq = seq}, *at = &key;
    struct outbox_message **found =
        bsearch(&at, g->messages, g->n, sizeof *g->messages, compare_messages);
    return found ? *found : NULL;
}

/* Marks a message whose payload has not come; somebody may delete a leased row. */
static const char missing[] = "its row is gone";

static void expect_large(struct gathering *g)
{
    for (uint32_t i = 0; i < g->n_large; i++) {
        struct outbox_message *m = find(g, g->large[i]);
        if (m)
            m->defect = (struct outbox_str){missing, sizeof missing - 1};
    }
}

static void drop_missing(struct gathering *g)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->messages[i]->defect.p != missing)
            g->messages[kept++] = g->messages[i];
    g->n = kept;
}

int gather_payloads(struct gathering *g, struct outbox_err *err)
{
    struct store *s = g->store;
    struct args args = {.arena = &s->scratch};
    PGresult *rows;
    if (g->n_large == 0)
        return OUTBOX_OK;
    args_ints(&args, g->large, g->n_large);
    int r = db_query(s, SLOT_PAYLOADS,
                     "SELECT m.seq, m.payload, m.headers::text FROM {t} m WHERE m.seq = ANY($1)",
                     &args, &rows, err);
    if (r < 0)
        return r;
    s->rows[s->n_rows++] = rows;
    expect_large(g);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct outbox_message *m = find(g, column_int(rows, i, 0));
        if (!m)
            continue;
        m->defect = (struct outbox_str){NULL, 0};
        m->payload = column_text(rows, i, 1);
        if (row_headers(column_text(rows, i, 2), g->claim->max_message, &s->claim_arena, m) < 0)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    drop_missing(g);
    return OUTBOX_OK;
}
