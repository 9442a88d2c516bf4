/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/filter.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <uuid.h>

/* Rows read in one round trip when a pattern picks among them. */
#define CHUNK 1000

static void put_statuses(FILE *f, uint32_t statuses)
{
    static const char *const names[] = {"pending", "processing", "processed", "failed"};
    bool any = false;
    for (unsigned i = 0; i < 4; i++)
        if (statuses & 1u << i) {
            fprintf(f, "%s'%s'", any ? ", " : " AND m.status IN (", names[i]);
            any = true;
        }
    fputs(any ? ")" : " AND false", f);
}

static void put_ids(FILE *f, const struct outbox_filter *filter, struct pg_args *args)
{
    struct outbox_str *ids = arena_array(args->arena, (size_t)filter->n_ids, sizeof *ids);
    uuid_t uuid;
    size_t n = 0;
    args->failed |= !ids;
    for (uint64_t i = 0; ids && i < filter->n_ids; i++)
        /* no row has another */
        if (uuid_parse_range(filter->ids[i].p, filter->ids[i].p + filter->ids[i].n, uuid) == 0)
            ids[n++] = filter->ids[i];
    if (ids)
        pg_args_texts(args, ids, n);
    fprintf(f, " AND (m.id = ANY ($%d::text[]::uuid[]) OR m.origin_id = ANY ($%d::text[]::uuid[]))",
            args->n, args->n);
}

char *filter_sql(const char *head, const struct outbox_filter *filter, const char *tail,
                 struct pg_args *args)
{
    char *sql = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&sql, &n);
    if (!f)
        return NULL;
    fputs(head, f);
    if (filter->statuses)
        put_statuses(f, filter->statuses);
    if (filter->lane.p) {
        pg_args_text(args, filter->lane);
        fprintf(f, " AND m.lane = $%d", args->n);
    }
    if (filter->older_than_ms > 0) {
        pg_args_int(args,
                    filter->older_than_ms < TIME_MAX_MS ? filter->older_than_ms : TIME_MAX_MS);
        fprintf(f,
                " AND CASE WHEN m.status = 'processed' AND m.processed_at IS NOT NULL"
                " THEN m.processed_at ELSE m.created_at END <= statement_timestamp() -"
                " $%d::int8::float8 * interval '1 millisecond'",
                args->n);
    }
    if (filter->n_ids)
        put_ids(f, filter, args);
    fputs(tail, f);
    if (fclose(f) != 0) {
        free(sql);
        return NULL;
    }
    return sql;
}

/* With topics only for a pattern; with those as they are stored if one cannot be sent: then a
 * pattern that is not ASCII may miss some. */
#define NEXT(columns) "SELECT " columns " FROM ONLY {t} m WHERE m.seq >= $1"
static const char next_seqs[] = NEXT("m.seq");
static const char next_topics[] = NEXT("m.seq, pg_catalog.left(m.topic, 65536)");
static const char next_stored[] =
    NEXT("m.seq, pg_catalog.convert_to(m.topic, pg_catalog.getdatabaseencoding())");

/* The next rows from `from` on, whatever their topic. */
static int read_next(struct store *s, const char *head, const struct outbox_filter *filter,
                     int64_t from, uint32_t limit, PGresult **ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, from);
    pg_args_int(&args, limit);
    char *sql = filter_sql(head, filter, " ORDER BY m.seq LIMIT $2", &args);
    if (!sql)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = pipeline_query(&s->conn, STMT_NONE, sql, &args, ret, err);
    free(sql);
    return r;
}

int filter_rows(struct store *s, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                int64_t **ret, size_t *ret_n, struct outbox_err *err)
{
    uint32_t chunk = filter->topic.p && limit < CHUNK ? CHUNK : limit;
    int64_t *seqs = arena_array(&s->page.arena, (size_t)limit + 1, sizeof *seqs);
    size_t n = 0;
    bool more = true;
    if (!seqs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    while (more && n < limit && *after < INT64_MAX) {
        PGresult *rows;
        int64_t from = *after == INT64_MIN ? *after : *after + 1; /* the least is behind nothing */
        int r = read_next(s, filter->topic.p ? next_topics : next_seqs, filter, from, chunk, &rows,
                          err);
        if (r < 0 && filter->topic.p && failure_is_unreadable_row(&s->conn))
            r = read_next(s, next_stored, filter, from, chunk, &rows, err);
        if (r < 0)
            return r;
        more = PQntuples(rows) == (int)chunk;
        for (int i = 0; i < PQntuples(rows) && n < limit; i++) {
            *after = pg_column_int(rows, i, 0);
            if (!filter->topic.p || fnmatch(filter->topic.p, PQgetvalue(rows, i, 1), 0) == 0)
                seqs[n++] = *after;
        }
        PQclear(rows);
        arena_reset(&s->conn.scratch);
        if (*after == INT64_MIN) /* else it would be next again */
            ++*after;
    }
    *ret = seqs;
    *ret_n = n;
    return OUTBOX_OK;
}
