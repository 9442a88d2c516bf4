/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"
#include "row.h"

/* SQLite takes 32766 arguments; the first ones are not ids. */
#define FIRST_ID 7
#define IDS_MAX 30000

static void put_statuses(sqlite3_str *sql, uint32_t statuses)
{
    static const char *const names[] = {"pending", "processing", "processed", "failed"};
    sqlite3_str_appendall(sql, " AND status IN (NULL");
    for (unsigned i = 0; i < 4; i++)
        if (statuses & 1u << i)
            sqlite3_str_appendf(sql, ", '%s'", names[i]);
    sqlite3_str_appendall(sql, ")");
}

static void put_ids(sqlite3_str *sql, const char *column, uint64_t n)
{
    sqlite3_str_appendf(sql, "%s IN (", column);
    for (uint64_t i = 0; i < n; i++)
        sqlite3_str_appendf(sql, "%s?%d", i ? ", " : "", FIRST_ID + (int)i);
    sqlite3_str_appendall(sql, ")");
}

static void put_conditions(sqlite3_str *sql, const struct outbox_filter *filter)
{
    if (filter->statuses)
        put_statuses(sql, filter->statuses);
    if (filter->topic.p)
        sqlite3_str_appendall(sql, " AND outbox_fnmatch(?4, topic)");
    if (filter->lane.p)
        sqlite3_str_appendall(sql, " AND lane = ?5");
    if (filter->older_than_ms > 0)
        sqlite3_str_appendall(sql, " AND outbox_timestamp(CASE WHEN status = 'processed' AND"
                                   " processed_at IS NOT NULL THEN processed_at ELSE created_at"
                                   " END) <= ?6");
    if (filter->n_ids) {
        put_ids(sql, " AND (id", filter->n_ids);
        put_ids(sql, " OR origin_id", filter->n_ids);
        sqlite3_str_appendall(sql, ")");
    }
}

int filter_query(struct store *s, const char *head, const struct outbox_filter *filter,
                 const char *tail, const struct outbox_arg *args, size_t n_args, sqlite3_stmt **ret,
                 struct outbox_err *err)
{
    if (filter->n_ids > IDS_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG, "at most %d ids at a time", IDS_MAX);
    sqlite3_str *text = sqlite3_str_new(NULL);
    sqlite3_str_appendall(text, head);
    put_conditions(text, filter);
    sqlite3_str_appendall(text, tail);
    char *sql = sqlite3_str_finish(text);
    int r = sql ? db_query(s, STMT_ONCE, sql, args, n_args, ret, err)
                : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_free(sql);
    if (r < 0)
        return r;
    db_bind(*ret, 4, &DB_TEXT(filter->topic));
    db_bind(*ret, 5, &DB_TEXT(filter->lane));
    db_bind(*ret, 6, &DB_INT(db_now_plus(s, -filter->older_than_ms)));
    for (uint64_t i = 0; i < filter->n_ids; i++)
        db_bind(*ret, FIRST_ID + (int)i, &DB_TEXT(filter->ids[i]));
    return OUTBOX_OK;
}
