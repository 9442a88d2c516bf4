/* SPDX-License-Identifier: Apache-2.0 */
/*
 * free_rows.c - what ends or changes the leases of rows: a lease that has expired, a batch that is
 * given back, rows without a lease. Rows that another session has locked are passed over: without
 * their lease they are strays, which get a new one. A row that the table refuses to change is found
 * by halves, and set aside; the others go on.
 */
#include "claim/claim_mode.h"
#include "common/bisect.h"

#include <inttypes.h>

/* So many are tried by halves at a time. */
#define APART_MAX 1000
#define SKIPPED "a trigger or a policy of the table skips the row"

/* $1 are rows to avoid; $2 the only ones, if there are any; $3 the token. Leases end when all their
 * rows are through, but for those that are avoided or locked. */
#define CHANGE(with, from, where, set, then)                                                    \
    "WITH " with "picked AS MATERIALIZED (SELECT m.ctid FROM " from "ONLY {t} m WHERE m.status" \
    "  = 'processing' AND " where " AND m.seq <> ALL ($1) AND"                                  \
    "  (pg_catalog.cardinality($2) = 0 OR m.seq = ANY ($2)) FOR UPDATE OF m SKIP LOCKED),"      \
    " changed AS (UPDATE ONLY {t} m SET " set " FROM picked WHERE m.ctid = picked.ctid"         \
    "  RETURNING 1), counts AS MATERIALIZED (SELECT (SELECT pg_catalog.count(*) FROM picked)"   \
    "  AS picked, (SELECT pg_catalog.count(*) FROM changed) AS changed)" then                   \
    " SELECT picked, changed, $3::int8 FROM counts"
#define WHEN_THROUGH " AND pg_catalog.cardinality($2) = 0 AND (SELECT picked = changed FROM counts)"
#define FIND(where)                                                                    \
    "SELECT m.seq FROM ONLY {t} m WHERE m.status = 'processing' AND m.seq <> ALL ($1)" \
    " AND " where " AND $2::int8 IS NOT NULL LIMIT $3"
#define FREE "status = 'pending', lease = NULL"
#define STRAY "(m.lease IS NULL OR NOT EXISTS (SELECT 1 FROM {t_leases} l WHERE l.lease = m.lease))"

static const struct change {
    enum stmt stmt;
    const char *sql;
    const char *find; /* the rows it is for; $1 are rows to avoid, $2 the token, $3 how many */
} expire =
    {STMT_EXPIRE,
     CHANGE("dead AS MATERIALIZED (SELECT lease FROM {t_leases} WHERE until <="
            " statement_timestamp() FOR UPDATE SKIP LOCKED), ",
            "dead, ", "m.lease = dead.lease", FREE,
            ", gone AS (DELETE FROM {t_leases} l USING dead WHERE l.lease = dead.lease" WHEN_THROUGH
            ")"),
     FIND("m.lease IN (SELECT lease FROM {t_leases} WHERE until <= statement_timestamp())")},
  adopt = {STMT_ADOPT, CHANGE("", "", STRAY, "lease = $3", ""), FIND(STRAY)},
  give_back = {STMT_RELEASE,
               CHANGE("", "", "m.lease = $3", FREE,
                      ", gone AS (DELETE FROM {t_leases} WHERE lease = $3" WHEN_THROUGH ")"),
               FIND("m.lease = $2")};

/* Of all rows, if n is 0. *ret_passed: each was changed, or is locked. */
static int change_once(struct store *s, const struct change *change, int64_t token,
                       const int64_t *only, size_t n, uint64_t *ret_n, bool *ret_passed,
                       struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *counts;
    s->conn.sqlstate[0] = '\0';
    store_add_aside(s, &args);
    pg_args_ints(&args, only, n);
    pg_args_int(&args, token);
    int r = pipeline_query(&s->conn, n > 0 ? STMT_NONE : change->stmt, change->sql, &args, &counts,
                           err);
    int64_t picked = r == OUTBOX_OK ? pg_column_int(counts, 0, 0) : 0;
    int64_t changed = r == OUTBOX_OK ? pg_column_int(counts, 0, 1) : 0;
    PQclear(counts);
    *ret_n += (uint64_t)changed;
    *ret_passed = r == OUTBOX_OK && picked == changed;
    return r < 0 && !failure_may_be_a_row(&s->conn) ? r : OUTBOX_OK;
}

static int find_rows(struct store *s, const struct change *change, int64_t token, int64_t *seqs,
                     size_t *ret_n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *rows;
    store_add_aside(s, &args);
    pg_args_int(&args, token);
    pg_args_int(&args, APART_MAX);
    int r = pipeline_query(&s->conn, STMT_NONE, change->find, &args, &rows, err);
    *ret_n = r == OUTBOX_OK ? (size_t)PQntuples(rows) : 0;
    for (size_t i = 0; i < *ret_n; i++)
        seqs[i] = pg_column_int(rows, (int)i, 0);
    PQclear(rows);
    return r;
}

/* Sets the rows aside that are refused; *ret_any: there were some. */
static int change_apart(struct store *s, const struct change *change, int64_t token,
                        uint64_t *ret_n, bool *ret_any, struct outbox_err *err)
{
    int64_t *seqs = arena_array(&s->conn.scratch, APART_MAX, sizeof *seqs);
    struct bisect b;
    size_t n, from, count;
    bool passed;
    *ret_any = false;
    if (!seqs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = find_rows(s, change, token, seqs, &n, err);
    bisect_begin(&b, n);
    while (r == OUTBOX_OK && bisect_range(&b, &from, &count)) {
        r = change_once(s, change, token, seqs + from, count, ret_n, &passed, err);
        if (r == OUTBOX_OK && passed) {
            bisect_passed(&b);
        } else if (r == OUTBOX_OK && bisect_failed(&b)) {
            *ret_any = true;
            if (!store_set_aside(s, seqs[from], s->conn.sqlstate[0] ? s->conn.words : SKIPPED))
                r = outbox_fail(err, OUTBOX_E_RETRY, "the table refuses more than %d rows: %s",
                                QUARANTINE_MAX, s->quarantine.reason);
        }
    }
    return r;
}

/* No row at all has the seq that is the only one: what fails, too, is not for a row. */
static int change_nothing(struct store *s, const struct change *change, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    static const int64_t none[] = {INT64_MIN, INT64_MIN};
    pg_args_ints(&args, none, 1);
    pg_args_ints(&args, none, 2);
    pg_args_int(&args, 0);
    return pipeline_change(&s->conn, STMT_NONE, change->sql, &args, NULL, err);
}

static int change_rows(struct store *s, const struct change *change, int64_t token, uint64_t *ret_n,
                       struct outbox_err *err)
{
    bool passed, any = true;
    *ret_n = 0;
    int r = change_once(s, change, token, NULL, 0, ret_n, &passed, err);
    while (r == OUTBOX_OK && !passed && any) {
        r = change_nothing(s, change, err);
        if (r == OUTBOX_OK)
            r = change_apart(s, change, token, ret_n, &any, err);
        if (r == OUTBOX_OK) /* and the leases */
            r = change_once(s, change, token, NULL, 0, ret_n, &passed, err);
    }
    return r;
}

int leases_expire(struct store *s, struct outbox_err *err)
{
    uint64_t n;
    int r = change_rows(s, &expire, 0, &n, err);
    if (n > 0) {
        s->host->count(s->host, "lease_expired_total", (int64_t)n);
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%" PRIu64 " messages were held by a relay that did not end cleanly; they are "
                    "free again and may arrive twice",
                    n);
    }
    return r;
}

/* Another program's relay marked rows and knows no leases: they expire like any from now on. */
int leases_adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    int64_t token;
    uint64_t n;
    int r = conn_token(&token, err);
    if (r < 0)
        return r;
    pg_args_int(&args, token);
    pg_args_int(&args, claim->lease_ms);
    pg_args_text(&args, claim->relay);
    r = pipeline_change(&s->conn, STMT_NONE,
                        "INSERT INTO {t_leases} (lease, until, relay) VALUES ($1,"
                        " clock_timestamp() + $2::int8::float8 * interval '1 millisecond', $3)",
                        &args, NULL, err);
    return r < 0 ? r : change_rows(s, &adopt, token, &n, err);
}

int leases_give_back(struct store *s, int64_t token, struct outbox_err *err)
{
    uint64_t n;
    return change_rows(s, &give_back, token, &n, err);
}

int leases_give_back_some(struct store *s, int64_t token, const int64_t *seqs, size_t n,
                          struct outbox_err *err)
{
    uint64_t changed = 0;
    bool passed;
    return n > 0 ? change_once(s, &give_back, token, seqs, n, &changed, &passed, err) : OUTBOX_OK;
}
