/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - connecting, in a thread of its own, because finding a host's address knows no
 * deadline. `struct attempt` belongs to that thread until timed_call_run returns it; nothing else
 * is shared.
 *
 * libpq tells only in words why a server refused a connection. After a new message the connection
 * is tried once more with the SQLSTATE in it; the answer is kept for as long as the message stays
 * the same, so that a wrong password is tried once and not twice each time.
 */
#include "connection/failure.h"

#include <stdlib.h>

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
    struct refusal refusal; /* the last one; then this one */
    PGconn *db;
};

/* ---- conninfo ---- */

/* libpq's own text may quote a part of a password. */
int connect_check_conninfo(const char *option, const char *conninfo, struct outbox_err *err)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: not a connection string; `host=... dbname=...` or "
                           "`postgresql://...` is one (what is wrong is not shown: it may hold a "
                           "password)",
                           option);
    PQconninfoFree(options);
    return OUTBOX_OK;
}

static bool has_value(const PQconninfoOption *options, const char *key)
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
    free(a);
}

/* The SQLSTATE and the server's words, of a text like `FATAL:  28P01: no such user`; of several
 * hosts the last that answered. */
static void read_refusal(const char *text, struct refusal *ret)
{
    for (const char *p = text; (p = strstr(p, ":  ")); p++) {
        size_t n = strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (n != 5 || strncmp(p + 8, ": ", 2) != 0)
            continue;
        snprintf(ret->state, sizeof ret->state, "%.5s", p + 3);
        snprintf(ret->text, sizeof ret->text, "%.*s", (int)strcspn(p + 10, "\n"), p + 10);
    }
}

static void work(void *arg)
{
    struct attempt *a = arg;
    struct refusal refusal = {.state = ""};
    a->db = PQconnectdbParams(a->keys, a->values, 1);
    if (!a->db || PQstatus(a->db) == CONNECTION_OK)
        return;
    snprintf(refusal.message, sizeof refusal.message, "%s", PQerrorMessage(a->db));
    if (strcmp(refusal.message, a->refusal.message) == 0)
        return;
    a->refusal = refusal;
    if (!strstr(refusal.message, "FATAL"))
        return;
    PQsetErrorVerbosity(a->db, PQERRORS_VERBOSE);
    PQreset(a->db);
    if (PQstatus(a->db) != CONNECTION_OK)
        read_refusal(PQerrorMessage(a->db), &a->refusal);
    PQsetErrorVerbosity(a->db, PQERRORS_DEFAULT);
}

static void add(struct attempt *a, const char *key, const char *value)
{
    a->keys[a->n] = key;
    a->values[a->n++] = value;
}

static struct attempt *new_attempt(const struct conn *conn, const char *purpose)
{
    struct attempt *a = calloc(1, sizeof *a);
    PQconninfoOption *options = PQconninfoParse(conn->conninfo, NULL);
    if (a) {
        a->conninfo = strdup(conn->conninfo);
        a->password = conn->password ? strdup(conn->password) : NULL;
        a->refusal = conn->refusal;
    }
    if (!a || !options || !a->conninfo || (conn->password && !a->password)) {
        PQconninfoFree(options);
        if (a)
            drop(a);
        return NULL;
    }
    /* A service may set any of them, and only libpq can read it. */
    bool service = has_value(options, "service") || getenv("PGSERVICE");
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && !service; i++)
        if (!has_value(options, defaults[i].key) &&
            (!defaults[i].variable || !getenv(defaults[i].variable)))
            add(a, defaults[i].key, defaults[i].value);
    add(a, "dbname", a->conninfo);
    if (a->password)
        add(a, "password", a->password);
    add(a, "fallback_application_name", purpose);
    add(a, "client_encoding", "UTF8");
    PQconninfoFree(options);
    return a;
}

/* Why libpq gave up, as a class and with advice. libpq has no codes for what it finds wrong with
 * conninfo itself, so those messages are known by their beginning. */
static int refused(struct conn *conn, const struct attempt *a, struct outbox_err *err)
{
    const char *text = PQerrorMessage(a->db);
    conn->refusal = a->refusal;
    if (conn->refusal.state[0])
        return failure_set(conn, a->db, conn->refusal.state, conn->refusal.text, err);
    if (!PQdb(a->db) || strncmp(text, "invalid ", 8) == 0 ||
        strncmp(text, "could not match ", 16) == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "conninfo: %.*s", (int)strcspn(text, "\n"), text);
    if (PQconnectionNeedsPassword(a->db))
        return failure_set(conn, a->db, "28P01", "the server wants a password, and none is given",
                           err);
    return failure_of(conn, a->db, NULL, err);
}

int connect_open(struct conn *conn, const char *purpose, struct outbox_err *err)
{
    struct attempt *a = new_attempt(conn, purpose);
    conn->sqlstate[0] = '\0';
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = timed_call_run(conn->connecting, work, drop, a, deadline_left_ms(&conn->deadline),
                           conn->deadline.cancel_fd);
    if (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED) /* the attempt is the thread's now */
        return outbox_fail(err, r,
                           r == OUTBOX_E_TIMEOUT ? "PostgreSQL: connecting took more than %lld ms"
                                                 : "cancelled while connecting",
                           (long long)conn->deadline.timeout_ms);
    if (r == OUTBOX_E_BROKEN)
        r = outbox_fail(err, OUTBOX_E_RETRY, "PostgreSQL: still connecting since an earlier call");
    else if (r < 0 || !a->db)
        r = outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread to connect");
    else if (PQstatus(a->db) != CONNECTION_OK || PQsetnonblocking(a->db, 1) != 0)
        r = refused(conn, a, err);
    if (r == OUTBOX_OK) {
        conn->db = a->db;
        conn->session++;
        a->db = NULL;
    }
    drop(a);
    return r;
}
