/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - which rows a person means, as the conditions of a statement. */
#include "sqlite.h"

#include <stdio.h>
#include <stdlib.h>

/* SQLite takes 32766 arguments; the first ones are not ids. */
#define FIRST_ID 7
#define IDS_MAX 30000

static void put_statuses(FILE *f, uint32_t statuses)
{
    static const char *const names[] = {"pending", "processing", "processed", "failed"};
    const char *before = " AND status IN (";
    for (unsigned i = 0; i < 4; i++)
        if (statuses & 1u << i) {
            fprintf(f, "%s'%s'", before, names[i]);
            before = ", ";
        }
    fputs(before[0] == ',' ? ")" : " AND 0", f);
}

static void put_ids(FILE *f, const char *column, uint64_t n)
{
    fprintf(f, "%s IN (", column);
    for (uint64_t i = 0; i < n; i++)
        fprintf(f, "%s?%d", i ? ", " : "", FIRST_ID + (int)i);
    fputs(")", f);
}

static void put_conditions(FILE *f, const struct outbox_filter *filter)
{
    if (filter->statuses)
        put_statuses(f, filter->statuses);
    if (filter->topic.p)
        fputs(" AND outbox_fnmatch(?4, topic)", f);
    if (filter->lane.p)
        fputs(" AND lane = ?5", f);
    if (filter->older_than_ms > 0)
        fputs(" AND outbox_moment(CASE WHEN status = 'processed' AND processed_at IS NOT NULL"
              " THEN processed_at ELSE created_at END) <= ?6",
              f);
    if (filter->n_ids) {
        fputs(" AND (", f);
        put_ids(f, "id", filter->n_ids);
        put_ids(f, " OR origin_id", filter->n_ids);
        fputs(")", f);
    }
}

sqlite3_stmt *filter_prepare(struct store *s, const char *head, const struct outbox_filter *filter,
                             const char *tail, struct outbox_err *err)
{
    char *sql = NULL;
    size_t n = 0;
    if (filter->n_ids > IDS_MAX) {
        s->failure = outbox_fail(err, OUTBOX_E_CONFIG, "at most %d ids at a time", IDS_MAX);
        return NULL;
    }
    FILE *f = open_memstream(&sql, &n);
    if (f) {
        fputs(head, f);
        put_conditions(f, filter);
        fputs(tail, f);
    }
    if (!f || fclose(f) != 0 || !sql) {
        free(sql);
        s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        return NULL;
    }
    sqlite3_stmt *q = db_prepare(s, sql, err);
    free(sql);
    if (!q)
        return NULL;
    db_bind(q, 4, filter->topic);
    db_bind(q, 5, filter->lane);
    sqlite3_bind_int64(q, 6, db_now_plus(s, -filter->older_than_ms));
    for (uint64_t i = 0; i < filter->n_ids; i++)
        db_bind(q, FIRST_ID + (int)i, filter->ids[i]);
    return q;
}
