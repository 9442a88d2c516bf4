/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - the settings that our statements need. A session of our own gets them once; behind a
 * pooler in transaction mode the session is everybody's, and each transaction gets them for itself.
 */
#include "connection/conn.h"

#include <inttypes.h>

/* statement_timeout: more than the call, which ends by itself; in few steps, so that it is seldom
 * set anew. */
#define TIMEOUT_MIN_MS 20000
#define SETTINGS_MAX 4000

/* In SQL, by names that no other schema can stand in for: somebody else's function or operator must
 * not decide any of this. */
static const struct {
    const char *name;
    const char *value; /* NULL: off, unless the planner is free */
    int since;         /* the server's version */
    bool direct;       /* not through a pooler */
} settings[] = {
    /* A plan for any arguments does not know how few rows these want. */
    {"plan_cache_mode", "'force_custom_plan'", 0, false},
    {"jit", "'off'", 0, false},
    {"default_transaction_isolation", "'read committed'", 0, false},
    /* pg_catalog, where it is not listed, comes first: nobody's function of another schema stands
     * in for one of its own. Listed first, it would be where new tables go. */
    {"search_path",
     "pg_catalog.ltrim(pg_catalog.regexp_replace(pg_catalog.current_setting('search_path'), "
     "'(^|,)[[:space:]]*\"?pg_catalog\"?[[:space:]]*(?=,|$)', '', 'g'), ', ')",
     0, false},
    /* A settled message must not come back after a crash. */
    {"synchronous_commit",
     "pg_catalog.regexp_replace(pg_catalog.current_setting('synchronous_commit'), '^off$', 'on')",
     0, false},
    /* A statement whose client has gone ends, too; and the session of one that vanished. */
    {"client_connection_check_interval", "'5s'", 140000, false},
    {"tcp_keepalives_idle", "'15'", 0, true},
    {"tcp_keepalives_interval", "'5'", 0, true},
    {"tcp_keepalives_count", "'3'", 0, true},
    {"tcp_user_timeout", "'30000'", 0, true},
    /* How long a batch may be held is idle_in_transaction_session_timeout's. */
    {"transaction_timeout", "'0'", 170000, false},
    {"idle_session_timeout", "'0'", 140000, false},
    /* Statistics of a bad moment must not make a claim sort the table or read all of it. */
    {"enable_indexscan", "'on'", 0, false},
    {"enable_indexonlyscan", "'on'", 0, false},
    {"enable_seqscan", NULL, 0, false},
    {"enable_bitmapscan", NULL, 0, false},
    {"enable_sort", NULL, 0, false},
    {"enable_hashjoin", NULL, 0, false},
    {"enable_mergejoin", NULL, 0, false},
};

static int64_t statement_timeout(const struct conn *conn)
{
    int64_t ms = TIMEOUT_MIN_MS;
    while (ms < conn->deadline.timeout_ms + 1000 && ms < INT32_MAX / 8)
        ms *= 4;
    return ms;
}

static int render(const struct conn *conn, char *sql, size_t cap, int64_t statement_ms)
{
    const char *local = conn->pooled ? "true" : "false";
    FILE *f = fmemopen(sql, cap, "w");
    if (!f)
        return OUTBOX_E_RETRY;
    fprintf(f,
            "SELECT pg_catalog.set_config('statement_timeout', '%" PRId64 "', %s),"
            " pg_catalog.set_config('idle_in_transaction_session_timeout', '%" PRId64 "', %s),"
            /* off: what policies would hide is an error */
            " pg_catalog.set_config('row_security', '%s', %s)",
            statement_ms, local, conn->hold_ms, local, conn->policies_pass ? "on" : "off", local);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (PQserverVersion(conn->db) >= settings[i].since && !(settings[i].direct && conn->pooled))
            fprintf(f, ", pg_catalog.set_config('%s', %s, %s)", settings[i].name,
                    settings[i].value       ? settings[i].value
                    : conn->planner_is_free ? "'on'"
                                            : "'off'",
                    local);
    return fclose(f) == 0 ? OUTBOX_OK : OUTBOX_E_RETRY;
}

int session_settings(struct conn *conn, const char **ret, struct outbox_err *err)
{
    struct applied_settings *applied = &conn->applied;
    struct applied_settings want = {statement_timeout(conn), conn->hold_ms, conn->planner_is_free,
                                    conn->policies_pass};
    bool fits = applied->statement_ms >= want.statement_ms && applied->hold_ms == want.hold_ms &&
                applied->planner_is_free == want.planner_is_free &&
                applied->policies_pass == want.policies_pass;
    *ret = NULL;
    /* What is set in a transaction ends with it, if that is undone. */
    if (PQtransactionStatus(conn->db) != PQTRANS_IDLE || (fits && !conn->pooled))
        return OUTBOX_OK;
    char *sql = arena_alloc(&conn->scratch, SETTINGS_MAX);
    if (!sql || render(conn, sql, SETTINGS_MAX, want.statement_ms) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (!conn->pooled)
        *applied = want;
    *ret = sql;
    return OUTBOX_OK;
}
