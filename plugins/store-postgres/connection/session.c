/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - what our statements need of a session. A connection of our own is told once; behind a
 * pooler in transaction mode the session is everybody's: each transaction is told for itself.
 */
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>

/* statement_timeout: more than the call, which ends by itself; in few steps, so that it is seldom
 * set anew. */
#define TIMEOUT_MIN_MS 20000
#define SERVER_MIN 120000
#define SETTINGS_MAX 3000

/* In SQL, by names that no other schema can stand in for: none of this may be said by somebody
 * else's function or operator. */
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
    /* What was sent must not come back after a crash. */
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

static int64_t statement_timeout(const struct store *s)
{
    int64_t ms = TIMEOUT_MIN_MS;
    while (ms < s->timeout_ms + 1000 && ms < INT32_MAX / 8)
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

/* -1 without memory. */
static int render(const struct store *s, char *sql, size_t cap, int64_t timeout_ms)
{
    FILE *f = fmemopen(sql, cap, "w");
    if (!f)
        return -1;
    for (size_t i = 0; i < N_FIXED; i++)
        if (PQserverVersion(s->db) >= fixed[i].since)
            put(f, fixed[i].name, fixed[i].value, s->pooled);
    for (size_t i = 0; i < N_PLANNER; i++)
        put(f, planner[i], s->planner_is_free ? "'on'" : "'off'", s->pooled);
    put_ms(f, "statement_timeout", timeout_ms, s->pooled);
    put_ms(f, "idle_in_transaction_session_timeout", s->hold_ms, s->pooled);
    return fclose(f) == 0 ? 0 : -1;
}

int session_settings(struct store *s, const char **ret, struct outbox_err *err)
{
    struct told want = {statement_timeout(s), s->hold_ms, s->planner_is_free};
    bool fits = s->told.timeout_ms >= want.timeout_ms && s->told.hold_ms == want.hold_ms &&
                s->told.planner_is_free == want.planner_is_free;
    *ret = NULL;
    /* What is told in a transaction ends with it, if that is undone. */
    if (PQtransactionStatus(s->db) != PQTRANS_IDLE || (fits && !s->pooled))
        return OUTBOX_OK;
    char *sql = arena_alloc(&s->scratch, SETTINGS_MAX);
    if (!sql || render(s, sql, SETTINGS_MAX, want.timeout_ms) < 0)
        return s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    s->told = want;
    *ret = sql;
    return OUTBOX_OK;
}

void session_forget(struct store *s)
{
    s->told.timeout_ms = 0;
}

/* A pooler answers with a key of its own for cancelling, not with its server's. Until that is known
 * nothing may be left behind in a session. */
int session_begin(struct store *s, struct outbox_err *err)
{
    PGresult *pid;
    int64_t key;
    int r = leases_token(&key, err);
    if (r < 0)
        return s->failure = r;
    s->statements_key = (uint32_t)key;
    s->pooled = true;
    session_forget(s);
    if (PQserverVersion(s->db) < SERVER_MIN)
        return s->failure = outbox_fail(err, OUTBOX_E_CONFIG,
                                        "PostgreSQL at %s has version %d; 12 or later is needed",
                                        PQhost(s->db), PQserverVersion(s->db) / 10000);
    r = db_query(s, SLOT_NONE, "SELECT pg_catalog.pg_backend_pid()", NULL, &pid, err);
    if (r < 0)
        return r;
    s->pooled = column_int(pid, 0, 0) != PQbackendPID(s->db);
    session_forget(s);
    PQclear(pid);
    return OUTBOX_OK;
}
