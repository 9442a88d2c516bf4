/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include "db.h"
#include "refused.h"

#include <inttypes.h>
#include <stdlib.h>

static int grow(struct rows *rows)
{
    size_t room = rows->room ? 2 * rows->room : 256;
    int64_t *seqs = reallocarray(rows->seqs, room, sizeof *seqs);
    if (!seqs)
        return OUTBOX_E_RETRY;
    rows->seqs = seqs;
    rows->room = room;
    return OUTBOX_OK;
}

int rows_read(struct store *s, sqlite3_stmt *q, struct rows *ret, struct outbox_err *err)
{
    int r;
    while ((r = db_step(s, q, err)) > 0) {
        if (ret->n == ret->room && grow(ret) < 0) {
            sqlite3_reset(q);
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        }
        ret->seqs[ret->n++] = sqlite3_column_int64(q, 0);
    }
    return r;
}

void rows_free(struct rows *rows)
{
    free(rows->seqs);
    *rows = (struct rows){0};
}

/* ---- changing them ---- */

struct run {
    const struct rows *rows;
    const struct rows_change *change;
    bool *changed; /* for each */
    uint64_t n;    /* of them, committed */
};

/* A row that is not as it was found has been changed by others, which is no failure. */
static int change_one(struct store *s, void *ctx, size_t i, struct outbox_err *err)
{
    struct run *run = ctx;
    int64_t seq = run->rows->seqs[i], still = 0;
    int r = db_run(s, STMT_ROW_CHANGE, run->change->sql,
                   DB_ARGS(DB_INT(seq), DB_INT(run->change->arg)), err);
    run->changed[i] = r == 0 && sqlite3_changes(s->db) > 0;
    if (r == 0 && !run->changed[i])
        r = db_read_int(s, STMT_ROW_STILL, run->change->still,
                        DB_ARGS(DB_INT(seq), DB_INT(run->change->arg)), &still, err);
    return r == 0 && still ? db_skipped(s, err) : r;
}

static void passed(struct store *s, void *ctx, size_t i)
{
    struct run *run = ctx;
    (void)s;
    run->n += run->changed[i];
}

static int refused(struct store *s, void *ctx, size_t i, struct outbox_err *err)
{
    struct run *run = ctx;
    (void)err;
    s->refused.last = run->rows->seqs[i];
    if (run->change->is_persons)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "the message with seq %" PRId64 " stays failed: %s", s->refused.last,
                    s->row_fault);
    else
        refused_quarantine(s, s->refused.last);
    return OUTBOX_OK;
}

int rows_apply(struct store *s, const struct rows *rows, const struct rows_change *change,
               uint64_t *ret_n, struct outbox_err *err)
{
    struct run run = {.rows = rows, .change = change};
    *ret_n = 0;
    if (rows->n == 0)
        return OUTBOX_OK;
    run.changed = calloc(rows->n, sizeof *run.changed);
    if (!run.changed)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    const struct refused_change how = {&run, change_one, passed, refused};
    int r = refused_run(s, &how, rows->n, err);
    free(run.changed);
    *ret_n = run.n;
    return r;
}
