/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/change.h"
#include "common/bisect.h"

/* So much of a call is left for its end, ms. */
#define SPARE_MS 200

struct work {
    struct store *s;
    const struct change_sql *sql;
    void (*refused)(struct store *s, int64_t seq, const char *why);
    struct change *done;
    bool is_known; /* to fail for a row, not for itself */
};

static int run(struct work *w, const int64_t *seqs, size_t n, uint64_t *ret_n,
               struct outbox_err *err)
{
    struct pg_args args = {.arena = &w->s->conn.scratch};
    pg_args_ints(&args, seqs, n);
    int r = pipeline_change(&w->s->conn, STMT_NONE, w->sql->change, &args, ret_n, err);
    arena_reset(&w->s->conn.scratch);
    return r;
}

/* Is a row at fault, or would it fail without any, or is only somebody in the way? */
static bool is_refusal(struct work *w)
{
    const struct conn *conn = &w->s->conn;
    uint64_t none;
    if (!conn->db || failure_is(conn, "57014") || failure_is(conn, "55P03") ||
        failure_is(conn, "40"))
        return false;
    if (!w->is_known)
        w->is_known = run(w, NULL, 0, &none, NULL) == OUTBOX_OK;
    return w->is_known;
}

static void note(struct work *w, int64_t seq, const char *why)
{
    w->done->n_refused++;
    w->done->refused = seq;
    snprintf(w->done->why, sizeof w->done->why, "%.299s", why);
    w->refused(w->s, seq, why);
}

/* A trigger that skips a row says nothing. */
static int find_skipped(struct work *w, const int64_t *seqs, size_t n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &w->s->conn.scratch};
    PGresult *left;
    pg_args_ints(&args, seqs, n);
    int r = pipeline_query(&w->s->conn, STMT_NONE, w->sql->left, &args, &left, err);
    for (int i = 0; i < PQntuples(left); i++)
        note(w, pg_column_int(left, i, 0), "a trigger skips it");
    PQclear(left);
    return r;
}

int change_rows(struct store *s, const struct change_sql *sql, const int64_t *seqs, size_t n,
                void (*refused)(struct store *s, int64_t seq, const char *why), struct change *ret,
                struct outbox_err *err)
{
    struct work w = {s, sql, refused, ret, false};
    struct outbox_err why = {.size = sizeof why};
    struct bisect b;
    size_t from, count;
    uint64_t changed;
    bisect_begin(&b, n);
    while (bisect_range(&b, &from, &count) && deadline_left_ms(&s->conn.deadline) > SPARE_MS) {
        int r = run(&w, seqs + from, count, &changed, &why);
        if (r == OUTBOX_OK) {
            ret->n += changed;
            bisect_passed(&b);
            if (changed < count)
                r = find_skipped(&w, seqs + from, count, &why);
        } else if (is_refusal(&w)) {
            r = OUTBOX_OK;
            if (bisect_failed(&b))
                note(&w, seqs[from], why.text);
        }
        if (r < 0)
            return outbox_fail(err, r, "%s", why.text);
    }
    return OUTBOX_OK;
}
