/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"
#include "schema/schema.h"

int store_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return check_enter(&s->conn, s->notify, call, err);
}

int store_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    if (s->claim.held && conn_has_session(&s->conn, s->claim.held->session))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a batch is held: until it is released this instance does nothing else");
    return store_enter_held(s, call, err);
}

bool store_set_aside(struct store *s, int64_t seq, const char *why)
{
    int64_t ms = quarantine_add(&s->quarantine, seq, deadline_now_us(&s->conn.deadline), why);
    if (ms > 0)
        outbox_logf(s->host, OUTBOX_LOG_ERROR,
                    "the row with seq %lld of %s.%s cannot be changed, and is left alone for %lld "
                    "minutes; look at the table's checks, triggers, policies and indexes, or "
                    "delete the row: %s",
                    (long long)seq, s->conn.schema, s->name.table, (long long)ms / 60000, why);
    return ms > 0;
}

void store_add_aside(struct store *s, struct pg_args *args)
{
    size_t n;
    const int64_t *seqs = quarantine_active(&s->quarantine, deadline_now_us(&s->conn.deadline), &n);
    pg_args_ints(args, seqs, n);
}
