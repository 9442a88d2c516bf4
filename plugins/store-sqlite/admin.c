/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - rows for people: listed, requeued, discarded, deleted when old. */
#include "sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 500
/* A row is shown whatever its size. */
#define NO_LIMIT INT64_MAX

/* ---- filters ---- */

/* The conditions of a filter, with arguments from ?4 on: topic, lane, then ids. */
static void put_conditions(FILE *f, const struct outbox_filter *filter)
{
    static const char *const names[] = {"pending", "processing", "processed", "failed"};
    fputs(" seq > ?2", f);
    if (filter->statuses) {
        bool first = true;
        fputs(" AND status IN (", f);
        for (int i = 0; i < 4; i++)
            if (filter->statuses & 1u << i) {
                fprintf(f, "%s'%s'", first ? "" : ", ", names[i]);
                first = false;
            }
        fputs(")", f);
    }
    if (filter->topic.p)
        fputs(" AND outbox_fnmatch(?4, topic)", f);
    if (filter->lane.p)
        fputs(" AND lane = ?5", f);
    for (uint64_t i = 0; i < filter->n_ids; i++)
        fprintf(f, "%s id = ?%llu OR origin_id = ?%llu", i ? " OR" : " AND (",
                (unsigned long long)i + 6, (unsigned long long)i + 6);
    if (filter->n_ids)
        fputs(")", f);
}

/* "HEAD conditions TAIL", prepared and with its arguments bound. */
static sqlite3_stmt *prepare(struct store *s, const char *head, const struct outbox_filter *filter,
                             const char *tail, int64_t after, int64_t limit, struct outbox_err *err)
{
    char *sql = NULL;
    size_t n = 0;
    if (filter->n_ids > IDS_MAX) {
        outbox_fail(err, OUTBOX_E_CONFIG, "at most %d ids at a time", IDS_MAX);
        return NULL;
    }
    FILE *f = open_memstream(&sql, &n);
    if (!f)
        return NULL;
    fputs(head, f);
    put_conditions(f, filter);
    fputs(tail, f);
    sqlite3_stmt *q = fclose(f) == 0 ? db_prepare(s, sql, err) : NULL;
    free(sql);
    if (!q)
        return NULL;
    sqlite3_bind_int64(q, 1, NO_LIMIT);
    sqlite3_bind_int64(q, 2, after);
    sqlite3_bind_int64(q, 3, limit);
    db_bind(q, 4, filter->topic);
    db_bind(q, 5, filter->lane);
    for (uint64_t i = 0; i < filter->n_ids; i++)
        db_bind(q, (int)i + 6, filter->ids[i]);
    return q;
}

static int failed(struct outbox_err *err)
{
    return err && err->code < 0 ? err->code : OUTBOX_E_RETRY;
}

/* ---- list ---- */

static uint32_t status_bit(struct outbox_str name)
{
    return outbox_str_eq(name, outbox_cstr("pending"))      ? OUTBOX_PENDING
           : outbox_str_eq(name, outbox_cstr("processing")) ? OUTBOX_PROCESSING
           : outbox_str_eq(name, outbox_cstr("processed"))  ? OUTBOX_PROCESSED
           : outbox_str_eq(name, outbox_cstr("failed"))     ? OUTBOX_FAILED
                                                            : 0;
}

static int take(struct arena *arena, sqlite3_stmt *q, int column, struct outbox_str *ret)
{
    struct outbox_str text = db_column(q, column);
    return arena_str(arena, text.p, (size_t)text.n, ret);
}

static struct outbox_row *read_row(struct store *s, sqlite3_stmt *q)
{
    struct arena *arena = &s->page_arena;
    struct outbox_row *row = arena_array(arena, 1, sizeof *row);
    if (!row || !(row->message = row_message(q, arena, NO_LIMIT)))
        return NULL;
    row->size = sizeof *row;
    row->status = status_bit(db_column(q, ROW_N_COLUMNS));
    if (take(arena, q, ROW_N_COLUMNS + 1, &row->last_error) < 0 ||
        take(arena, q, ROW_N_COLUMNS + 2, &row->lane) < 0 ||
        take(arena, q, ROW_N_COLUMNS + 3, &row->origin_id) < 0)
        return NULL;
    row->lane_seq = sqlite3_column_int64(q, ROW_N_COLUMNS + 4);
    row->processed_us = moment_column(q, ROW_N_COLUMNS + 5);
    row->available_us = moment_column(q, ROW_N_COLUMNS + 6);
    return row;
}

int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *s = instance;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    struct outbox_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_row **rows = arena_array(&s->page_arena, (size_t)limit + 1, sizeof *rows);
    if (!page || !rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_stmt *q = prepare(s,
                              "SELECT " ROW_COLUMNS ", status, last_error, lane, origin_id,"
                              " lane_seq, processed_at, available_at FROM \"{t}\" WHERE",
                              filter, " ORDER BY seq LIMIT ?3", after, limit, err);
    if (!q)
        return failed(err);
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        if (!(rows[page->n] = read_row(s, q))) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
        page->n++;
    }
    if (code != SQLITE_DONE && r == 0)
        r = db_fail(s, err);
    sqlite3_finalize(q);
    page->size = sizeof *page;
    page->rows = (const struct outbox_row *const *)rows;
    *ret = page;
    return r;
}

/* ---- requeue, discard ---- */

/* The last seq of the next `limit` rows of the filter, and how many they are. */
static int next_range(struct store *s, const struct outbox_filter *filter, int64_t after,
                      uint32_t limit, int64_t *ret_last, uint64_t *ret_n, struct outbox_err *err)
{
    sqlite3_stmt *q =
        prepare(s, "SELECT count(*), max(seq) FROM (SELECT seq FROM \"{t}\" WHERE ?1 AND", filter,
                " ORDER BY seq LIMIT ?3)", after, limit, err);
    if (!q)
        return failed(err);
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW) {
        *ret_n = (uint64_t)sqlite3_column_int64(q, 0);
        *ret_last = sqlite3_column_int64(q, 1);
    }
    sqlite3_finalize(q);
    return code == SQLITE_ROW ? OUTBOX_OK : db_fail(s, err);
}

static int change_failed(struct store *s, const char *head, const struct outbox_filter *filter,
                         int64_t *after, uint32_t limit, uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_filter dead = *filter;
    int64_t last = 0;
    dead.statuses = OUTBOX_FAILED;
    int r = next_range(s, &dead, *after, limit, &last, ret_n, err);
    if (r < 0 || *ret_n == 0)
        return r;
    sqlite3_stmt *q = prepare(s, head, &dead, " AND seq <= ?3", *after, last, err);
    if (!q)
        return failed(err);
    int code = sqlite3_step(q);
    sqlite3_finalize(q);
    if (code != SQLITE_DONE)
        return db_fail(s, err);
    *after = last;
    return OUTBOX_OK;
}

static int change_failed_committed(struct store *s, const char *head,
                                   const struct outbox_filter *filter, int64_t *after,
                                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                                   struct outbox_err *err)
{
    int64_t at = *after;
    *ret_n = 0;
    int r = db_enter(s, call, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = change_failed(s, head, filter, &at, limit, ret_n, err);
    r = r < 0 ? db_rollback(s, r) : db_commit(s, err);
    if (r == 0)
        *after = at;
    return r;
}

int requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed_committed(
        instance,
        "UPDATE \"{t}\" SET status = 'pending', retries = 0, lane = NULL,"
        " lane_seq = NULL, available_at = NULL, processed_at = NULL"
        " WHERE ?1 AND",
        filter, after, limit, call, ret_n, err);
}

int discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed_committed(instance, "DELETE FROM \"{t}\" WHERE ?1 AND", filter, after,
                                   limit, call, ret_n, err);
}

/* ---- purge ---- */

static int purge_one(struct store *s, enum slot slot, const char *sql, int64_t older_ms,
                     int64_t limit, uint64_t *n, struct outbox_err *err)
{
    char before[MOMENT_SIZE];
    sqlite3_stmt *q = db_statement(s, slot, sql, err);
    if (!q)
        return failed(err);
    /* 0: all, also what is marked as processed without a time */
    if (older_ms > 0)
        db_bind(q, 1, outbox_cstr(moment_format(db_now(s) - older_ms * 1000, before)));
    sqlite3_bind_int64(q, 2, limit);
    int r = db_run(s, q, err);
    if (r == 0)
        *n += (uint64_t)sqlite3_changes64(s->db);
    return r;
}

int purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
          const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct store *s = instance;
    uint32_t statuses = filter->statuses ? filter->statuses : OUTBOX_PROCESSED | OUTBOX_FAILED;
    *ret_n = 0;
    if (statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "only processed and failed messages can be deleted");
    int r = db_enter(s, call, err);
    if (r == 0 && (statuses & OUTBOX_PROCESSED))
        r = purge_one(s, SLOT_PURGE_PROCESSED,
                      "DELETE FROM \"{t}\" WHERE seq IN (SELECT seq FROM \"{t}\" WHERE status ="
                      " 'processed' AND (?1 IS NULL OR processed_at <= ?1) ORDER BY processed_at"
                      " LIMIT ?2)",
                      filter->older_than_ms, limit, ret_n, err);
    if (r == 0 && (statuses & OUTBOX_FAILED) && *ret_n < limit)
        r = purge_one(s, SLOT_PURGE_FAILED,
                      "DELETE FROM \"{t}\" WHERE seq IN (SELECT seq FROM \"{t}\" WHERE status ="
                      " 'failed' AND (?1 IS NULL OR julianday(created_at) <= julianday(?1))"
                      " ORDER BY seq LIMIT ?2)",
                      filter->older_than_ms, limit - (int64_t)*ret_n, ret_n, err);
    return r;
}
