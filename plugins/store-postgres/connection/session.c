/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/session.h"

#include <inttypes.h>

/* statement_timeout: more than the call, which ends by itself; in few steps, so that it is seldom
 * set anew. */
#define TIMEOUT_MIN_MS 20000
#define SETTINGS_MAX 3000

/* In SQL, by names that no other schema can stand in for: somebody else's function or operator must
 * not decide any of this. */
static const struct {
    const char *name;
    const char *value;
    int since; /* the server's version */
} fixed[] = {
    /* A plan for any arguments does not know how few rows these want. */
    {"plan_cache_mode", "'force_custom_plan'", 0},
    {"jit", "'off'", 0},
    {"default_transaction_isolation", "'read committed'", 0},
    /* pg_catalog, where it is not listed, comes first: nobody's function of another schema stands
     * in for one of its own. Listed first, it would be where new tables go. */
    {"search_path",
     "pg_catalog.ltrim(pg_catalog.regexp_replace(pg_catalog.current_setting('search_path'), "
     "'(^|,)\\s*\"?pg_catalog\"?\\s*(?=,|$)', '', 'g'), ', ')",
     0},
    /* A settled message must not come back after a crash. */
    {"synchronous_commit",
     "pg_catalog.regexp_replace(pg_catalog.current_setting('synchronous_commit'), '^off$', 'on')",
     0},
    /* A statement whose client has gone ends, too. */
    {"client_connection_check_interval", "'5s'", 140000},
    /* How long a batch may be held is idle_in_transaction_session_timeout's. */
    {"transaction_timeout", "'0'", 170000},
};
#define N_FIXED (sizeof fixed / sizeof fixed[0])

/* Statistics of a bad moment must not make a claim sort the table or read all of it. */
static const char *const planner[] = {"enable_seqscan", "enable_bitmapscan", "enable_sort",
                                      "enable_hashjoin", "enable_mergejoin"};
#define N_PLANNER (sizeof planner / sizeof planner[0])

static int64_t statement_timeout(const struct conn *conn)
{
    int64_t ms = TIMEOUT_MIN_MS;
    while (ms < conn->deadline.timeout_ms + 1000 && ms < INT32_MAX / 8)
        ms *= 4;
    return ms;
}

static void put(FILE *f, const char *name, const char *value, bool local)
{
    fprintf(f, "%s pg_catalog.set_config('%s', %s, %s)", ftell(f) > 0 ? "," : "SELECT", name, value,
            local ? "true" : "false");
}

static void put_ms(FILE *f, const char *name, int64_t ms, bool local)
{
    char value[32];
    snprintf(value, sizeof value, "'%" PRId64 "'", ms);
    put(f, name, value, local);
}

static int render(const struct conn *conn, char *sql, size_t cap, int64_t statement_ms)
{
    FILE *f = fmemopen(sql, cap, "w");
    if (!f)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < N_FIXED; i++)
        if (PQserverVersion(conn->db) >= fixed[i].since)
            put(f, fixed[i].name, fixed[i].value, conn->pooled);
    for (size_t i = 0; i < N_PLANNER; i++)
        put(f, planner[i], conn->planner_is_free ? "'on'" : "'off'", conn->pooled);
    put_ms(f, "statement_timeout", statement_ms, conn->pooled);
    put_ms(f, "idle_in_transaction_session_timeout", conn->hold_ms, conn->pooled);
    return fclose(f) == 0 ? OUTBOX_OK : OUTBOX_E_RETRY;
}

int session_settings(struct conn *conn, const char **ret, struct outbox_err *err)
{
    struct applied_settings *applied = &conn->applied;
    struct applied_settings want = {statement_timeout(conn), conn->hold_ms, conn->planner_is_free};
    bool fits = applied->statement_ms >= want.statement_ms && applied->hold_ms == want.hold_ms &&
                applied->planner_is_free == want.planner_is_free;
    *ret = NULL;
    /* What is set in a transaction ends with it, if that is undone. */
    if (PQtransactionStatus(conn->db) != PQTRANS_IDLE || (fits && !conn->pooled))
        return OUTBOX_OK;
    char *sql = arena_alloc(&conn->scratch, SETTINGS_MAX);
    if (!sql || render(conn, sql, SETTINGS_MAX, want.statement_ms) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *applied = want;
    *ret = sql;
    return OUTBOX_OK;
}

void session_forget(struct conn *conn)
{
    conn->applied.statement_ms = 0;
}
