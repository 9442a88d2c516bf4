/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - connecting, in a thread, because looking up a name has no limit. `struct attempt` is
 * that thread's until apart_run has returned it; nothing else is shared with it.
 *
 * libpq tells in words alone why a server refuses a connection. After a new message it connects
 * once more with the SQLSTATE in the message; the answer is kept while the message stays the same,
 * so that a wrong password is not tried twice each time.
 */
#include "inbox.h"

#include <unistd.h>

#define KEYS_MAX 16
/* Of a conninfo or a password, with its end. */
#define SECRET_MAX 65537
/* From this version on libpq knows sslrootcert=system. */
#define KNOWS_SYSTEM 160000

/* What conninfo or the environment may say otherwise. A line that fell silent has to be noticed. */
static const struct {
    const char *key;
    const char *variable;
    const char *value;
} defaults[] = {
    {"target_session_attrs", "PGTARGETSESSIONATTRS", "read-write"},
    {"keepalives_idle", NULL, "15"},
    {"keepalives_interval", NULL, "5"},
    {"keepalives_count", NULL, "3"},
    {"tcp_user_timeout", NULL, "30000"},
};

/* The thread's own copy of everything. */
struct attempt {
    const char *keys[KEYS_MAX + 1], *values[KEYS_MAX + 1];
    size_t n;
    char conninfo[SECRET_MAX], password[SECRET_MAX];
    char application[IDENTIFIER_MAX + 1], timeout[24], roots[4096];
    struct refusal refusal; /* the last one; then this one */
    PGconn *db;
};

/* ---- the thread ---- */

static void drop(void *arg)
{
    struct attempt *a = arg;
    PQfinish(a->db);
    explicit_bzero(a, sizeof *a);
    free(a);
}

/* The SQLSTATE and the server's words, of a text like `FATAL:  28P01: no such user`; of several
 * hosts those of the last that answered. */
static void read_refusal(const char *text, struct refusal *ret)
{
    for (const char *p = text; (p = strstr(p, ":  ")) != NULL; p++) {
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
    struct refusal refusal;
    memset(&refusal, 0, sizeof refusal);
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

/* ---- what to connect with ---- */

static const char *value_of(const PQconninfoOption *options, const char *key)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, key) == 0)
            return options->val;
    return NULL;
}

static void add(struct attempt *a, const char *key, const char *value)
{
    a->keys[a->n] = key;
    a->values[a->n++] = value;
}

/* The system's authorities, as this libpq takes them; empty: where it looks by itself. */
static void find_roots(char *ret, size_t cap)
{
    static const char *const bundles[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/ssl/cert.pem",                                 /* Alpine */
    };
    const char *home = getenv("HOME"), *file = getenv("SSL_CERT_FILE");
    snprintf(ret, cap, "%s/.postgresql/root.crt", home ? home : "");
    if (home && access(ret, F_OK) == 0) {
        ret[0] = '\0';
        return;
    }
    snprintf(ret, cap, "%s", PQlibVersion() >= KNOWS_SYSTEM ? "system" : file ? file : "");
    for (size_t i = 0; i < sizeof bundles / sizeof bundles[0] && !*ret; i++)
        if (access(bundles[i], R_OK) == 0)
            snprintf(ret, cap, "%s", bundles[i]);
}

/* Over TCP the server must show who it is, unless a person has said otherwise; libpq does not ask
 * that of a socket of this machine. */
static int add_tls(struct attempt *a, const PQconninfoOption *options, bool service,
                   struct outbox_err *err)
{
    const char *mode = value_of(options, "sslmode");
    if (!mode)
        mode = getenv("PGSSLMODE");
    if (!mode && service)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "conninfo: beside a service it must have sslmode, too: verify-full");
    if (!mode)
        add(a, "sslmode", mode = "verify-full");
    if (strcmp(mode, "verify-full") != 0 || service || value_of(options, "sslrootcert") ||
        getenv("PGSSLROOTCERT"))
        return OUTBOX_OK;
    find_roots(a->roots, sizeof a->roots);
    if (a->roots[0])
        add(a, "sslrootcert", a->roots);
    return OUTBOX_OK;
}

/* What stands before conninfo is a default, what stands behind it is not. Only libpq can read what
 * a service sets. */
static int fill(const struct instance *x, struct attempt *a, struct outbox_err *err)
{
    PQconninfoOption *options = PQconninfoParse(a->conninfo, NULL);
    bool service = value_of(options, "service") || getenv("PGSERVICE");
    int64_t seconds = (x->settings.connect_ms + 999) / 1000;
    int r = add_tls(a, options, service, err);
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && !service; i++)
        if (!defaults[i].variable || !getenv(defaults[i].variable))
            add(a, defaults[i].key, defaults[i].value);
    snprintf(a->timeout, sizeof a->timeout, "%d", seconds < 2 ? 2 : (int)seconds);
    snprintf(a->application, sizeof a->application, "%s",
             x->settings.application ? x->settings.application : "outboxd");
    if (!service)
        add(a, "connect_timeout", a->timeout);
    add(a, "fallback_application_name", a->application);
    add(a, "dbname", a->conninfo);
    if (a->password[0])
        add(a, "password", a->password);
    add(a, "client_encoding", "UTF8");
    PQconninfoFree(options);
    return r;
}

/* As they are now. *ret is for drop, also after a failure. */
static int new_attempt(const struct instance *x, struct attempt **ret, struct outbox_err *err)
{
    struct attempt *a = *ret = calloc(1, sizeof *a);
    uint64_t n;
    int r;
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->refusal = x->refusal;
    r = outbox_option_read(x->host, x->cfg, "conninfo", a->conninfo, sizeof a->conninfo, &n, err);
    if (r == OUTBOX_OK)
        r = settings_check_conninfo(a->conninfo, err);
    if (r == OUTBOX_OK && x->host->option_is_set(x->cfg, "password"))
        r = outbox_option_read(x->host, x->cfg, "password", a->password, sizeof a->password, &n,
                               err);
    return r == OUTBOX_OK ? fill(x, a, err) : r;
}

/* ---- connecting ---- */

/* Why there is no connection. What libpq finds wrong itself has no code: those texts are known by
 * parts of them, and only decide whether a person has to look. */
static int refused(struct instance *x, const struct attempt *a, struct outbox_err *err)
{
    static const char *const wrong[] = {"invalid ", "could not match ", "certificate",
                                        "support SSL", "requires authentication"};
    const char *text = PQerrorMessage(a->db);
    bool is_wrong = !PQdb(a->db);
    x->refusal = a->refusal;
    if (x->refusal.state[0])
        return failure_set(x, a->db, x->refusal.state, false, x->refusal.text, err);
    if (PQconnectionNeedsPassword(a->db))
        return failure_set(x, a->db, "28P01", false,
                           "the server wants a password, and none is given", err);
    if (strstr(text, "read-only"))
        return failure_set(x, a->db, "25006", false, text, err);
    failure_set(x, a->db, NULL, false, text, err);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        is_wrong |= strstr(text, wrong[i]) != NULL;
    if (!is_wrong)
        return OUTBOX_E_RETRY;
    if (err)
        err->code = OUTBOX_E_CONFIG;
    return OUTBOX_E_CONFIG;
}

int connect_open(struct instance *x, struct outbox_err *err)
{
    struct attempt *a = NULL;
    int r = new_attempt(x, &a, err);
    if (r == OUTBOX_OK) {
        r = apart_run(x->connecting, work, drop, a, &x->d);
        if (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED)
            return outbox_fail(err, r, "%s",
                               r == OUTBOX_E_TIMEOUT ? "no connection in time" : "cancelled");
        if (r < 0 || !a->db)
            r = outbox_fail(err, OUTBOX_E_RETRY, "still connecting, or there is no thread for it");
        else if (PQstatus(a->db) != CONNECTION_OK || PQsetnonblocking(a->db, 1) != 0)
            r = refused(x, a, err);
    }
    if (r == OUTBOX_OK) {
        x->db = a->db;
        a->db = NULL;
    }
    if (a)
        drop(a);
    return r;
}
