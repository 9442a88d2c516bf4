/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade.c - a table of the ten-column form becomes ours while producers go on inserting. Each
 * step may be taken again, so that an upgrade which was cut off is finished by the next.
 *
 *   1. The columns are added, in one statement that touches no row. Every row that is there has seq
 *      0; a row that is inserted from then on gets a number behind all that the old ones will need.
 *   2. Rows with seq 0 get their numbers, in the order of created_at, some thousands at a time.
 *   3. Indexes are built without locking anybody out; the table of the version makes it ours.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So long a statement that locks everybody out waits for its turn, and they behind it. */
#define LOCK_TIMEOUT "100ms"
#define LOCK_AGAIN_MS 400
#define BATCH 5000
/* So many rows may be inserted between the count and the new column, beside as many as there are.
 */
#define MARGIN 1000000

/* The columns that there must be, and their types. */
static const struct {
    const char *name;
    const char *types;
} old_columns[] = {
    {"id", "uuid"},
    {"topic", "text, character varying"},
    {"key", "text, character varying"},
    {"payload", "bytea"},
    {"headers", "jsonb, json"},
    {"status", "text, character varying"},
    {"retries", "integer, bigint, smallint"},
    {"last_error", "text, character varying"},
    {"created_at", "timestamp with time zone"},
    {"processed_at", "timestamp with time zone"},
};
#define N_OLD (sizeof old_columns / sizeof old_columns[0])

/* ---- patience ---- */

/* Somebody else was in the way, for now: with a lock, or with a change of the catalogue. */
static bool may_pass(const struct store *s, int r, const struct outbox_err *err)
{
    return r < 0 && db_left_ms(s) > 0 &&
           (strcmp(s->failed_state, "55P03") == 0 || strncmp(s->failed_state, "40", 2) == 0 ||
            strstr(err->text, "tuple concurrently") != NULL);
}

/* Waits for locks for a short time only: shorter than the server takes to look for deadlocks, so
 * that it never ends somebody else's transaction for one with ours. */
static int begin_patiently(struct store *s, struct outbox_err *err)
{
    int r = db_exec(s, BEGIN, err);
    return r < 0 ? r : db_exec(s, "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'", err);
}

static int try_with_lock(struct store *s, const char *const *statements, struct outbox_err *err)
{
    int r = begin_patiently(s, err);
    if (r == 0)
        r = schema_run_all(s, statements, err);
    return r < 0 ? db_rollback(s, r) : db_exec(s, "COMMIT", err);
}

int schema_run_patiently(struct store *s, const char *const *statements, struct outbox_err *err)
{
    int r;
    while (may_pass(s, r = try_with_lock(s, statements, err), err))
        db_rest(s, LOCK_AGAIN_MS);
    return r;
}

/* ---- 1. columns ---- */

static int64_t one_number(struct store *s, const char *sql, struct args *args, int *r,
                          struct outbox_err *err)
{
    PGresult *result;
    int64_t n = 0;
    *r = db_query(s, SLOT_NONE, sql, args, &result, err);
    if (*r == 0 && PQntuples(result) > 0)
        n = column_int(result, 0, 0);
    PQclear(result);
    return n;
}

/* The column's number, or 0; of types (NULL: any) only. */
static int find_column(struct store *s, const char *name, const char *types, int64_t *ret,
                       struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    int r;
    args_int(&args, s->oid);
    args_text(&args, outbox_cstr(name));
    args_text(&args, types ? outbox_cstr(types) : (struct outbox_str){NULL, 0});
    *ret = one_number(s,
                      "SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid ="
                      " $1::int8::oid AND attname = $2::text AND attnum > 0 AND NOT attisdropped"
                      " AND ($3 IS NULL OR pg_catalog.format_type(atttypid, NULL) = ANY ("
                      " pg_catalog.string_to_array($3, ', ')))",
                      &args, &r, err);
    return r;
}

static int check_columns(struct store *s, struct outbox_err *err)
{
    for (size_t i = 0; i < N_OLD; i++) {
        int64_t found;
        int r = find_column(s, old_columns[i].name, old_columns[i].types, &found, err);
        if (r < 0)
            return r;
        if (!found)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "the table %s.%s has no column %s of type %s: it is no outbox "
                               "table; name another in `table`, or rename this one",
                               s->schema, s->name.table, old_columns[i].name, old_columns[i].types);
    }
    return OUTBOX_OK;
}

static int add_columns(struct store *s, struct outbox_err *err)
{
    char *alter = NULL;
    int64_t there, n;
    int r = find_column(s, "seq", NULL, &there, err);
    if (r < 0 || there)
        return r;
    n = one_number(s, "SELECT count(*) FROM {t}", NULL, &r, err);
    if (r < 0)
        return r;
    if (asprintf(&alter,
                 "ALTER TABLE {t} ALTER COLUMN seq DROP DEFAULT, ALTER COLUMN seq ADD GENERATED BY "
                 "DEFAULT AS IDENTITY (START WITH %lld)",
                 (long long)(n * 2 + MARGIN)) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    const char *const statements[] = {
        "ALTER TABLE {t} ADD COLUMN seq bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN available_at timestamptz, ADD COLUMN lane text, ADD COLUMN lane_seq bigint,"
        " ADD COLUMN origin_id uuid, ADD COLUMN lease bigint",
        alter, NULL};
    r = schema_run_patiently(s, statements, err);
    free(alter);
    return r;
}

/* ---- 2. indexes ---- */

/* 1: it is there and of use; 0: it is not; what a cut-off building left behind is thrown away. */
static int have_index(struct store *s, const char *mark, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *found;
    char name[80], drop[100];
    snprintf(name, sizeof name, "%s%.*s", s->name.table, (int)strcspn(mark + 2, "}"), mark + 2);
    snprintf(drop, sizeof drop, "DROP INDEX CONCURRENTLY {t%.*s}", (int)strcspn(mark + 2, "}"),
             mark + 2);
    args_int(&args, s->oid);
    args_text(&args, outbox_cstr(name));
    int r = db_query(s, SLOT_NONE,
                     "SELECT COALESCE(i.indrelid = t.oid, false), COALESCE(i.indisvalid, false)"
                     " FROM pg_catalog.pg_class t JOIN pg_catalog.pg_class c"
                     "  ON c.relnamespace = t.relnamespace AND c.relname = $2::text"
                     " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
                     " WHERE t.oid = $1::int8::oid",
                     &args, &found, err);
    if (r < 0)
        return r;
    bool there = PQntuples(found) > 0, ours = there && column_int(found, 0, 0) != 0;
    bool valid = ours && column_int(found, 0, 1) != 0;
    PQclear(found);
    if (there && !ours)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "there is something else with the name %s, which an index of %s needs; "
                           "rename it",
                           name, s->name.table);
    return valid ? 1 : there ? db_exec_alone(s, drop, err) : 0;
}

/* CREATE INDEX of {n_X}, without locking anybody out. */
static int build_index(struct store *s, const char *statement, struct outbox_err *err)
{
    const char *rest_of_it = strstr(statement, "INDEX ") + strlen("INDEX ");
    char *sql = NULL;
    int r = have_index(s, strstr(statement, "{n_"), err);
    if (r != 0)
        return r < 0 ? r : OUTBOX_OK;
    if (asprintf(&sql, "%.*sCONCURRENTLY %s", (int)(rest_of_it - statement), statement,
                 rest_of_it) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    r = db_exec_alone(s, sql, err);
    free(sql);
    return r;
}

static int build_indexes(struct store *s, const char *const *statements, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (; r == 0 && *statements; statements++)
        while (may_pass(s, r = build_index(s, *statements, err), err))
            db_rest(s, LOCK_AGAIN_MS);
    return r;
}

/* ---- 3. numbers ---- */

/* The largest number that an old row has got. */
static int last_number(struct store *s, int64_t *ret, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    int r;
    args_int(&args, s->oid);
    *ret = one_number(s,
                      "SELECT COALESCE(max(seq), 0) FROM {t} WHERE seq <"
                      " (SELECT q.seqstart FROM pg_catalog.pg_sequence q"
                      "  JOIN pg_catalog.pg_depend d ON d.objid = q.seqrelid"
                      "  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid"
                      "   AND a.attnum = d.refobjsubid AND a.attname = 'seq'"
                      "  WHERE d.refobjid = $1::int8::oid AND d.deptype = 'i')",
                      &args, &r, err);
    return r;
}

static int number_some(struct store *s, int64_t after, uint64_t *ret_n, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    args_int(&args, after);
    args_int(&args, BATCH);
    *ret_n = 0;
    int r = begin_patiently(s, err);
    if (r < 0)
        return db_rollback(s, r);
    r = db_query(s, SLOT_NONE,
                 "WITH picked AS MATERIALIZED (SELECT id, created_at FROM {t} WHERE seq = 0"
                 " ORDER BY created_at, id LIMIT $2::int8 FOR UPDATE),"
                 " numbered AS (SELECT id, $1::int8 + row_number() OVER"
                 "  (ORDER BY created_at, id) AS n FROM picked)"
                 " UPDATE {t} m SET seq = numbered.n, status = CASE m.status WHEN 'processing'"
                 "  THEN 'pending' ELSE m.status END FROM numbered WHERE m.id = numbered.id",
                 &args, &result, err);
    uint64_t n = r == 0 ? db_changed(result) : 0;
    PQclear(result);
    arena_reset(&s->scratch);
    r = r < 0 ? db_rollback(s, r) : db_exec(s, "COMMIT", err);
    if (r == 0)
        *ret_n = n;
    return r;
}

static int number_all(struct store *s, int64_t *ret_rows, struct outbox_err *err)
{
    static const char *const index[] = {
        "CREATE INDEX {n_upgrade} ON {t} (created_at, id) WHERE seq = 0", NULL};
    int64_t last, left = 1;
    int r = build_indexes(s, index, err);
    if (r == 0)
        r = last_number(s, &last, err);
    /* All of some may have been deleted meanwhile, so none does not mean the end. */
    while (r == 0 && left > 0) {
        uint64_t n;
        while (may_pass(s, r = number_some(s, last, &n, err), err))
            db_rest(s, LOCK_AGAIN_MS);
        last += (int64_t)n;
        *ret_rows += (int64_t)n;
        if (r == 0 && n == 0)
            left = one_number(s, "SELECT count(*) FROM (SELECT 1 FROM {t} WHERE seq = 0 LIMIT 1) x",
                              NULL, &r, err);
    }
    return r;
}

/* ---- all of it ---- */

int upgrade_old(struct store *s, int64_t *ret_rows, struct outbox_err *err)
{
    static const char *const *const companions[] = {schema_companions, NULL};
    s->planner_is_free = true;
    int r = check_columns(s, err);
    if (r == 0)
        r = add_columns(s, err);
    if (r == 0)
        r = number_all(s, ret_rows, err);
    if (r == 0)
        r = build_indexes(s, schema_indexes, err);
    if (r == 0)
        r = db_exec_alone(s, "DROP INDEX CONCURRENTLY IF EXISTS {t_upgrade}", err);
    if (r == 0)
        r = schema_run_patiently(s, schema_storage, err);
    if (r == 0)
        r = schema_run_together(s, companions, err); /* from now on it is ours */
    s->planner_is_free = false;
    return r;
}
