/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - what our statements need of a session. A connection of our own is told once; behind a
 * pooler in transaction mode nothing of a session lasts, and each transaction is told.
 */
#include "postgres.h"

/* statement_timeout: more than the call, which ends by itself; in few steps, so that it is seldom
 * set anew. */
#define TIMEOUT_MIN_MS 20000
#define SERVER_MIN 120000

/*
 * plan_cache_mode and what follows: statistics of a bad moment must not make a claim sort the table
 * or read all of it, and a plan for any arguments does not know how few rows these want.
 * search_path: pg_catalog, where it is not listed, comes first, so that nobody's function of
 * another schema stands in for one of its own. synchronous_commit: what was sent must not come back
 * after a crash. client_connection_check_interval: a statement whose client has gone ends, too.
 */
static const char prelude[] =
    "SELECT pg_catalog.set_config(v.name, v.value, $1::int8 = 1)"
    " FROM (SELECT CASE $2::int8 WHEN 0 THEN 'off' ELSE 'on' END AS free,"
    "   pg_catalog.current_setting('search_path') AS path,"
    "   pg_catalog.current_setting('synchronous_commit') AS sync) f,"
    "  LATERAL (VALUES ('plan_cache_mode', 'force_custom_plan'), ('jit', 'off'),"
    "   ('enable_seqscan', f.free), ('enable_bitmapscan', f.free), ('enable_sort', f.free),"
    "   ('enable_hashjoin', f.free), ('enable_mergejoin', f.free),"
    "   ('statement_timeout', $3::int8::text),"
    "   ('idle_in_transaction_session_timeout', $4::int8::text),"
    "   ('search_path', pg_catalog.ltrim(pg_catalog.regexp_replace(f.path,"
    "    '(^|,)\\s*\"?pg_catalog\"?\\s*(?=,|$)', '', 'g'), ', ')),"
    "   ('synchronous_commit', CASE f.sync WHEN 'off' THEN 'on' ELSE f.sync END),"
    "   ('client_connection_check_interval', '5s')) AS v (name, value)"
    " WHERE $5::int8 >= 140000 OR v.name <> 'client_connection_check_interval'";

static int64_t statement_timeout(const struct store *s)
{
    int64_t ms = TIMEOUT_MIN_MS;
    while (ms < s->timeout_ms + 1000 && ms < INT32_MAX / 8)
        ms *= 4;
    return ms;
}

size_t session_prelude(struct store *s, struct step *step, struct args *args)
{
    int64_t timeout_ms = statement_timeout(s);
    if (!s->pooled && s->set_timeout_ms == timeout_ms && s->set_hold_ms == s->hold_ms)
        return 0;
    args_int(args, s->pooled);
    args_int(args, s->planner_is_free);
    args_int(args, timeout_ms);
    args_int(args, s->hold_ms);
    args_int(args, PQserverVersion(s->db));
    *step = (struct step){.slot = SLOT_NONE, .sql = prelude, .args = args};
    s->set_timeout_ms = timeout_ms;
    s->set_hold_ms = s->hold_ms;
    return 1;
}

void session_forget(struct store *s)
{
    s->set_timeout_ms = 0;
}

/* A pooler answers with a key of its own for cancelling, not with its server's. */
int session_begin(struct store *s, struct outbox_err *err)
{
    PGresult *pid;
    s->pooled = false;
    session_forget(s);
    if (PQserverVersion(s->db) < SERVER_MIN)
        return s->failure = outbox_fail(err, OUTBOX_E_CONFIG,
                                        "PostgreSQL at %s has version %d; 12 or later is needed",
                                        PQhost(s->db), PQserverVersion(s->db) / 10000);
    int r = db_query(s, SLOT_NONE, "SELECT pg_catalog.pg_backend_pid()", NULL, &pid, err);
    if (r < 0)
        return r;
    s->pooled = column_int(pid, 0, 0) != PQbackendPID(s->db);
    session_forget(s);
    PQclear(pid);
    return OUTBOX_OK;
}
