/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - the connection: made when needed, in a thread of its own, because finding a host's
 * address knows no deadline; dropped when it is of no more use.
 */
#include "postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEYS_MAX 10

/* Settings that conninfo, its service or the environment may override; see libpq's documentation.
 */
static const struct {
    const char *key;
    const char *variable;
    const char *value;
} defaults[] = {
    {"connect_timeout", "PGCONNECT_TIMEOUT", "5"},
    {"target_session_attrs", "PGTARGETSESSIONATTRS", "read-write"},
    {"keepalives_idle", NULL, "15"},
    {"keepalives_interval", NULL, "5"},
    {"keepalives_count", NULL, "3"},
    {"tcp_user_timeout", NULL, "30000"},
};

/* What a connection is made from; the thread's own copy. */
struct attempt {
    const char *keys[KEYS_MAX + 1];
    const char *values[KEYS_MAX + 1];
    size_t n;
    char *conninfo;
    char *password;
    char *purpose;
    PGconn *db;
};

/* ---- what conninfo says ---- */

static PQconninfoOption *parse(const char *conninfo)
{
    return PQconninfoParse(conninfo, NULL);
}

/* libpq's own text may quote a part of a password. */
int conninfo_check(const char *option, const char *conninfo, struct outbox_err *err)
{
    PQconninfoOption *options = parse(conninfo);
    if (!options)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: not a connection string; `host=... dbname=...` or "
                           "`postgresql://...` is one (what is wrong is not shown: it may hold a "
                           "password)",
                           option);
    PQconninfoFree(options);
    return OUTBOX_OK;
}

static bool says(const PQconninfoOption *options, const char *key)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, key) == 0)
            return options->val != NULL;
    return false;
}

/* ---- connecting ---- */

static void drop(void *arg)
{
    struct attempt *a = arg;
    PQfinish(a->db);
    free(a->conninfo);
    if (a->password)
        explicit_bzero(a->password, strlen(a->password));
    free(a->password);
    free(a->purpose);
    free(a);
}

static void work(void *arg)
{
    struct attempt *a = arg;
    a->db = PQconnectdbParams(a->keys, a->values, 1);
}

static void add(struct attempt *a, const char *key, const char *value)
{
    a->keys[a->n] = key;
    a->values[a->n++] = value;
}

static struct attempt *new_attempt(const struct store *s, const char *conninfo, const char *purpose)
{
    struct attempt *a = calloc(1, sizeof *a);
    PQconninfoOption *options = parse(conninfo);
    if (a) {
        a->conninfo = strdup(conninfo);
        a->password = s->password ? strdup(s->password) : NULL;
        a->purpose = strdup(purpose);
    }
    if (!a || !options || !a->conninfo || !a->purpose || (s->password && !a->password)) {
        PQconninfoFree(options);
        if (a)
            drop(a);
        return NULL;
    }
    /* A service may say any of them, and only libpq can read it. */
    bool service = says(options, "service") || getenv("PGSERVICE");
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && !service; i++)
        if (!says(options, defaults[i].key) &&
            (!defaults[i].variable || !getenv(defaults[i].variable)))
            add(a, defaults[i].key, defaults[i].value);
    add(a, "dbname", a->conninfo);
    if (a->password)
        add(a, "password", a->password);
    add(a, "fallback_application_name", a->purpose);
    add(a, "client_encoding", "UTF8");
    PQconninfoFree(options);
    return a;
}

PGconn *db_connect(struct store *s, const char *conninfo, struct bounded *bounded,
                   const char *purpose, struct outbox_err *err)
{
    PGconn *db = NULL;
    struct attempt *a = new_attempt(s, conninfo, purpose);
    s->failed_state[0] = '\0';
    if (!a) {
        s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        return NULL;
    }
    int r = bounded_run(bounded, work, drop, a, db_left_ms(s), s->cancel_fd);
    if (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED) { /* the attempt is the thread's now */
        s->failure = r;
        outbox_fail(err, r,
                    r == OUTBOX_E_TIMEOUT ? "PostgreSQL: connecting took more than %lld ms"
                                          : "called back while connecting",
                    (long long)s->timeout_ms);
        return NULL;
    }
    if (r == OUTBOX_OK && a->db && PQstatus(a->db) == CONNECTION_OK &&
        PQsetnonblocking(a->db, 1) == 0) {
        db = a->db;
        a->db = NULL;
    } else if (r == OUTBOX_OK) {
        failure_of(s, a->db, NULL, err);
    } else {
        s->failure =
            outbox_fail(err, OUTBOX_E_RETRY,
                        r == OUTBOX_E_BROKEN ? "PostgreSQL: still connecting since an earlier call"
                                             : "cannot start a thread to connect");
    }
    drop(a);
    return db;
}

/* ---- calls ---- */

static void set_deadline(struct store *s, const struct outbox_call *call)
{
    s->timeout_ms = call->timeout_ms;
    s->deadline_us = s->host->monotonic_us(s->host) + (int64_t)call->timeout_ms * 1000;
    s->cancel_fd = call->cancel_fd;
    s->failed_state[0] = '\0';
    arena_reset(&s->scratch);
}

/* All that is said between calls, too; only a farewell matters. */
static void hear(void *arg, const PGresult *notice)
{
    struct store *s = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    s->is_dismissed |=
        severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* A server that ended the connection has said so, and hangs up behind it. */
static void drop_dead(struct store *s)
{
    struct pollfd fd = {.fd = s->db ? PQsocket(s->db) : -1, .events = POLLIN};
    while (s->db && poll(&fd, 1, 0) > 0)
        if (!PQconsumeInput(s->db) || PQisBusy(s->db) || PQstatus(s->db) != CONNECTION_OK ||
            s->is_dismissed)
            db_close(s);
}

static int enter(struct store *s, const struct outbox_call *call, bool check,
                 struct outbox_err *err)
{
    set_deadline(s, call);
    drop_dead(s);
    if (s->db)
        return OUTBOX_OK;
    s->is_dismissed = false;
    s->db = db_connect(s, s->conninfo, s->bounded, "outboxd", err);
    if (!s->db)
        return s->failure;
    PQsetNoticeReceiver(s->db, hear, s);
    int r = session_begin(s, err);
    if (r == 0 && check)
        r = schema_check(s, err);
    if (r < 0)
        db_close(s);
    return r;
}

int db_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    if (s->held && s->held->open)
        return s->failure = outbox_fail(err, OUTBOX_E_CONFIG,
                                        "a batch is held: until it is released this instance does "
                                        "nothing else");
    return enter(s, call, true, err);
}

int db_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, true, err);
}

int db_enter_raw(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, false, err);
}

void db_close(struct store *s)
{
    PQfinish(s->db);
    s->db = NULL;
    memset(s->prepared, 0, sizeof s->prepared);
    s->listens = s->gate_is_shut = false;
    if (s->held)
        s->held->open = false;
}
