/* SPDX-License-Identifier: Apache-2.0 */
#include "refused.h"

#include "db.h"

#include <inttypes.h>

/* So many rows are named in a call. */
#define LOGGED_MAX 5
/* Other instances leave a row alone for this much longer than the one that knows what it wanted. */
#define SLACK_MS 10000
/* How long claims pass over what the quarantine has no room for. */
#define FULL_MS 60000

/* Items from `from` to before `end`, in one transaction. *ret_at: the item where it failed. */
static int try_range(struct store *s, const struct refused_change *change, size_t from, size_t end,
                     size_t *ret_at, struct outbox_err *err)
{
    int r = db_begin(s, err);
    *ret_at = from;
    for (size_t i = from; r == 0 && i < end; i++) {
        *ret_at = i;
        r = change->change(s, change->ctx, i, err);
    }
    return db_end(s, r, err);
}

int refused_run(struct store *s, const struct refused_change *change, size_t n,
                struct outbox_err *err)
{
    size_t from = 0, end = n, at;
    while (from < n) {
        int r = try_range(s, change, from, end, &at, err);
        if (r == 0) {
            for (; from < end; from++)
                change->passed(s, change->ctx, from);
            end = n;
        } else if (!s->row_at_fault) {
            return r;
        } else if (at > from) {
            end = at; /* those before it, first */
        } else {
            r = change->refused(s, change->ctx, at, err);
            if (r < 0)
                return r;
            from = at + 1;
            end = n;
        }
    }
    return OUTBOX_OK;
}

static void pass_over(struct store *s, int64_t seq, int64_t now_us)
{
    if (now_us >= s->refused.full_until_us || seq > s->refused.full_seq)
        s->refused.full_seq = seq;
    s->refused.full_until_us = now_us + FULL_MS * 1000;
}

void refused_quarantine(struct store *s, int64_t seq)
{
    int64_t now_us = s->host->monotonic_us(s->host);
    int64_t ms = quarantine_add(&s->refused.quarantine, seq, now_us, s->row_fault);
    s->refused.pause_ms = ms ? ms : FULL_MS;
    if (ms == 0)
        pass_over(s, seq, now_us);
    else if (++s->refused.n_logged <= LOGGED_MAX)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%s: the database refuses to change the row with seq %" PRId64
                    " of %s: %s; it is left alone for %" PRId64 " s",
                    s->path, seq, s->table, s->row_fault, ms / 1000);
    else if (s->refused.n_logged == LOGGED_MAX + 1)
        outbox_logf(s->host, OUTBOX_LOG_WARNING, "%s: the database refuses to change more rows",
                    s->path);
}

int64_t refused_until_us(const struct store *s)
{
    return db_now_plus(s, s->refused.pause_ms + SLACK_MS);
}

bool refused_has(const struct store *s, int64_t seq)
{
    return s->refused.quarantine.n > 0 &&
           quarantine_has(&s->refused.quarantine, seq, s->host->monotonic_us(s->host));
}

void refused_sql(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    sqlite3_result_int(context,
                       refused_has(sqlite3_user_data(context), sqlite3_value_int64(values[0])));
}

void refused_pass_over_sql(sqlite3_context *context, int n, sqlite3_value **values)
{
    const struct store *s = sqlite3_user_data(context);
    int64_t seq = sqlite3_value_int64(values[0]);
    (void)n;
    sqlite3_result_int(context, refused_has(s, seq) ||
                                    (seq <= s->refused.full_seq &&
                                     s->host->monotonic_us(s->host) < s->refused.full_until_us));
}
