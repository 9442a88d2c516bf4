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

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#define KEYS_MAX 6
/* Of a conninfo or a password, with its end. */
#define SECRET_MAX 65537

/* Settings that conninfo, its service or the environment may override; see libpq's documentation.
 */
static const struct {
    const char *key;
    const char *variable;
    const char *value;
} defaults[] = {
    {"connect_timeout", "PGCONNECT_TIMEOUT", "5"},
    {"target_session_attrs", "PGTARGETSESSIONATTRS", "read-write"},
};

/* The same, set when it is known what the service sets: a line that fell silent has to be noticed.
 */
static const struct {
    const char *key;
    int level;
    int option;
    int value;
} line_defaults[] = {
    {"keepalives", SOL_SOCKET, SO_KEEPALIVE, 1},
    {"keepalives_idle", IPPROTO_TCP, TCP_KEEPIDLE, 15},
    {"keepalives_interval", IPPROTO_TCP, TCP_KEEPINTVL, 5},
    {"keepalives_count", IPPROTO_TCP, TCP_KEEPCNT, 3},
    {"tcp_user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
};

/* What a connection is made from; the thread's own copy. */
struct attempt {
    const char *keys[KEYS_MAX + 1];
    const char *values[KEYS_MAX + 1];
    size_t n;
    char *conninfo;
    char *password;         /* NULL: as conninfo says */
    struct refusal refusal; /* the last one; then this one */
    PGconn *db;
};

/* ---- conninfo ---- */

/* libpq's own text may quote a part of a password. */
int connect_check_conninfo(const char *option, const char *conninfo, struct outbox_err *err)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options)
        return outbox_fail_option(
            err, option,
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

static void forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void drop(void *arg)
{
    struct attempt *a = arg;
    PQfinish(a->db);
    forget(a->conninfo);
    forget(a->password);
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

/* As it is now: it may have been changed since the last login. */
static int read_secret(const struct conn *conn, const char *option, char **ret,
                       struct outbox_err *err)
{
    uint64_t n;
    *ret = calloc(1, SECRET_MAX);
    if (!*ret)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return outbox_option_read(conn->host, conn->cfg, option, *ret, SECRET_MAX, &n, err);
}

static int read_secrets(const struct conn *conn, struct attempt *a, struct outbox_err *err)
{
    int r = read_secret(conn, conn->option, &a->conninfo, err);
    if (r == OUTBOX_OK)
        r = connect_check_conninfo(conn->option, a->conninfo, err);
    if (r == OUTBOX_OK && conn->host->option_text(conn->cfg, "password").p)
        r = read_secret(conn, "password", &a->password, err);
    return r;
}

static void fill(struct attempt *a, const char *purpose)
{
    PQconninfoOption *options = PQconninfoParse(a->conninfo, NULL);
    /* A service may set any of them, and only libpq can read it. */
    bool service = has_value(options, "service") || getenv("PGSERVICE");
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && !service; i++)
        if (!has_value(options, defaults[i].key) && !getenv(defaults[i].variable))
            add(a, defaults[i].key, defaults[i].value);
    add(a, "dbname", a->conninfo);
    if (a->password)
        add(a, "password", a->password);
    add(a, "fallback_application_name", purpose);
    add(a, "client_encoding", "UTF8");
    PQconninfoFree(options);
}

/* *ret is for drop, also after a failure. */
static int new_attempt(const struct conn *conn, const char *purpose, struct attempt **ret,
                       struct outbox_err *err)
{
    struct attempt *a = *ret = calloc(1, sizeof *a);
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->refusal = conn->refusal;
    int r = read_secrets(conn, a, err);
    if (r == OUTBOX_OK)
        fill(a, purpose);
    return r;
}

static void set_line(PGconn *db)
{
    PQconninfoOption *options = PQconninfo(db);
    for (size_t i = 0; i < sizeof line_defaults / sizeof line_defaults[0]; i++)
        if (options && !has_value(options, line_defaults[i].key)) /* of no use to a local one */
            setsockopt(PQsocket(db), line_defaults[i].level, line_defaults[i].option,
                       &line_defaults[i].value, sizeof line_defaults[i].value);
    PQconninfoFree(options);
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
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %.*s", conn->option, (int)strcspn(text, "\n"),
                           text);
    if (PQconnectionNeedsPassword(a->db))
        return failure_set(conn, a->db, "28P01", "the server wants a password, and none is given",
                           err);
    if (strstr(text, "read-only"))
        return failure_set(conn, a->db, "25006", text, err);
    return failure_of(conn, a->db, NULL, err);
}

/* Runs an attempt, which becomes NULL if its thread keeps it. */
static int run_attempt(struct conn *conn, struct attempt **attempt, struct outbox_err *err)
{
    struct attempt *a = *attempt;
    int r = timed_call_run(conn->connecting, work, drop, a, deadline_left_ms(&conn->deadline),
                           conn->deadline.cancel_fd);
    if (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED) {
        *attempt = NULL;
        return outbox_fail(err, r,
                           r == OUTBOX_E_TIMEOUT ? "PostgreSQL: connecting took more than %lld ms"
                                                 : "cancelled while connecting",
                           (long long)conn->deadline.timeout_ms);
    }
    if (r == OUTBOX_E_BROKEN)
        return outbox_fail(err, OUTBOX_E_RETRY,
                           "PostgreSQL: still connecting since an earlier call");
    if (r < 0 || !a->db)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread to connect");
    if (PQstatus(a->db) != CONNECTION_OK || PQsetnonblocking(a->db, 1) != 0)
        return refused(conn, a, err);
    set_line(a->db);
    conn->db = a->db;
    conn->session++;
    a->db = NULL;
    return OUTBOX_OK;
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A password that was changed while it was refused is tried at once. */
int connect_open(struct conn *conn, const char *purpose, struct outbox_err *err)
{
    struct attempt *a = NULL, *next = NULL;
    conn->sqlstate[0] = '\0';
    int r = new_attempt(conn, purpose, &a, err);
    if (r == OUTBOX_OK)
        r = run_attempt(conn, &a, err);
    if (r == OUTBOX_E_CONFIG && failure_is(conn, "28") &&
        new_attempt(conn, purpose, &next, NULL) == OUTBOX_OK &&
        !(is_same(a->conninfo, next->conninfo) && is_same(a->password, next->password)))
        r = run_attempt(conn, &next, err);
    if (a)
        drop(a);
    if (next)
        drop(next);
    return r;
}
