/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - connecting, in a thread of its own, because finding a host's address knows no
 * deadline.
 *
 * libpq says in words only why a server refused a connection. They are asked for once more with the
 * SQLSTATE, and then remembered, so that a wrong password is tried once and not twice each time.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct refusal refusal; /* the last one; then this one */
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
    char said[sizeof a->refusal.said];
    a->db = PQconnectdbParams(a->keys, a->values, 1);
    if (!a->db || PQstatus(a->db) == CONNECTION_OK)
        return;
    snprintf(said, sizeof said, "%s", PQerrorMessage(a->db));
    if (strcmp(said, a->refusal.said) == 0)
        return;
    a->refusal = (struct refusal){.state = ""};
    memcpy(a->refusal.said, said, sizeof said);
    if (!strstr(said, "FATAL"))
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

static struct attempt *new_attempt(const struct store *s, const char *conninfo, const char *purpose)
{
    struct attempt *a = calloc(1, sizeof *a);
    PQconninfoOption *options = parse(conninfo);
    if (a) {
        a->conninfo = strdup(conninfo);
        a->password = s->password ? strdup(s->password) : NULL;
        a->purpose = strdup(purpose);
        a->refusal = s->refusal;
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

/* Why libpq gave up, as a class and with advice where it says so. */
static void tell_refusal(struct store *s, const struct attempt *a, struct outbox_err *err)
{
    const char *text = PQerrorMessage(a->db);
    s->refusal = a->refusal;
    if (s->refusal.state[0])
        failure_say(s, a->db, s->refusal.state, s->refusal.text, err);
    else if (!PQdb(a->db) || strncmp(text, "invalid ", 8) == 0 ||
             strncmp(text, "could not match ", 16) == 0)
        s->failure =
            outbox_fail(err, OUTBOX_E_CONFIG, "conninfo: %.*s", (int)strcspn(text, "\n"), text);
    else if (PQconnectionNeedsPassword(a->db))
        failure_say(s, a->db, "28P01", "it wants a password, and there is none", err);
    else
        failure_of(s, a->db, NULL, err);
}

PGconn *db_connect(struct store *s, const char *conninfo, struct timed_call *bounded,
                   const char *purpose, struct outbox_err *err)
{
    PGconn *db = NULL;
    struct attempt *a = new_attempt(s, conninfo, purpose);
    s->failed_state[0] = '\0';
    if (!a) {
        s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        return NULL;
    }
    int r = timed_call_run(bounded, work, drop, a, db_left_ms(s), s->cancel_fd);
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
    } else if (r == OUTBOX_OK && a->db) {
        tell_refusal(s, a, err);
    } else {
        s->failure =
            outbox_fail(err, OUTBOX_E_RETRY,
                        r == OUTBOX_E_BROKEN ? "PostgreSQL: still connecting since an earlier call"
                                             : "cannot start a thread to connect");
    }
    drop(a);
    return db;
}
