/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable_search.c - which rows they are that the server cannot read out or send. A statement
 * over many rows fails for one of them and does not say for which, so they are read by halves, a
 * few at a time.
 */
#include "claim/unreadable_search.h"

#include <stdio.h>
#include <string.h>

/* No such character in UTF-8, not UTF-8; larger than a text may become; damaged (since PostgreSQL
 * 13; before, that is an internal error like any other). */
static const char *const states[] = {"22P05", "22021", "54000", "XX001"};

/* Rows are tried together as far as they have this. */
#define CHUNK_ROWS 32
#define CHUNK_BYTES (INT64_C(16) << 20)

/* Reads, and sends nothing. $1: max_message. */
#define READING                                                          \
    "SELECT pg_catalog.count(pg_catalog.convert_to(m.topic, 'UTF8')),"   \
    " pg_catalog.count(pg_catalog.convert_to(m.key, 'UTF8')),"           \
    " pg_catalog.count(pg_catalog.convert_to(m.headers::text, 'UTF8'))," \
    " pg_catalog.count(CASE WHEN pg_catalog.octet_length(m.payload)"     \
    "  BETWEEN 1 AND $1 THEN pg_catalog.get_byte(m.payload, 0) END)"
#define READING_WHOLE                                                          \
    READING ", pg_catalog.count(pg_catalog.convert_to(m.last_error, 'UTF8'))," \
            " pg_catalog.count(pg_catalog.convert_to(m.lane, 'UTF8'))"
#define OF_THESE " FROM {t} m WHERE m.seq = ANY ($2)"

bool unreadable_is_why(const struct store *s)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(s->failed_state, states[i]) == 0)
            return s->db != NULL;
    return false;
}

/* Can all of them be read? If not, *ret_why says what the server does. */
static int read_all(struct store *s, const struct search *q, size_t from, size_t n, bool *ret,
                    struct outbox_err *ret_why, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    int64_t *seqs = arena_array(&s->scratch, n, sizeof *seqs);
    if (!seqs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < n; i++)
        seqs[i] = q->rows[from + i].seq;
    args_int(&args, q->max_message < INT64_MAX ? (int64_t)q->max_message : INT64_MAX);
    args_ints(&args, seqs, n);
    s->failed_state[0] = '\0';
    *ret_why = (struct outbox_err){.size = sizeof *ret_why};
    int r = db_query(s, SLOT_NONE, q->whole ? READING_WHOLE OF_THESE : READING OF_THESE, &args,
                     &result, ret_why);
    PQclear(result);
    *ret = r == OUTBOX_OK;
    return r == OUTBOX_OK || unreadable_is_why(s) ? OUTBOX_OK
                                                  : outbox_fail(err, r, "%s", ret_why->text);
}

static int add(struct store *s, struct search *q, size_t at, const struct outbox_err *why,
               struct outbox_err *err)
{
    struct unreadable *found = &q->found[q->n_found];
    found->seq = q->rows[at].seq;
    if (arena_str(&s->scratch, why->text, strlen(why->text), &found->why) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    q->n_found++;
    return OUTBOX_OK;
}

static bool is_over(const struct store *s, const struct search *q)
{
    return q->n_found == q->max || s->host->monotonic_us(s->host) >= q->until_us;
}

/* What fails alone is tried once more: then it is no passing mood of the server. */
static int search_part(struct store *s, struct search *q, size_t from, size_t n,
                       struct outbox_err *err)
{
    struct outbox_err why;
    bool good;
    if (is_over(s, q))
        return OUTBOX_OK;
    int r = read_all(s, q, from, n, &good, &why, err);
    if (r == OUTBOX_OK && !good && n == 1)
        r = read_all(s, q, from, n, &good, &why, err);
    if (r == OUTBOX_OK && !good && n == 1)
        r = add(s, q, from, &why, err);
    else if (r == OUTBOX_OK && !good) {
        r = search_part(s, q, from, n / 2, err);
        return r < 0 ? r : search_part(s, q, from + n / 2, n - n / 2, err);
    }
    if (r == OUTBOX_OK)
        q->n_read = from + n;
    return r;
}

int unreadable_search(struct store *s, struct search *q, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    q->n_found = q->n_read = 0;
    for (size_t from = 0, n; r == OUTBOX_OK && from < q->n && !is_over(s, q); from += n) {
        int64_t bytes = q->rows[from].bytes;
        for (n = 1; n < CHUNK_ROWS && from + n < q->n && bytes < CHUNK_BYTES; n++)
            bytes += q->rows[from + n].bytes;
        r = search_part(s, q, from, n, err);
    }
    return r;
}

int unreadable_mark(struct arena *arena, struct outbox_str why, struct outbox_message *m)
{
    char text[600];
    int n = snprintf(text, sizeof text, "the row cannot be read: %.*s", (int)why.n, why.p);
    return arena_str(arena, text, (size_t)n, &m->defect);
}
