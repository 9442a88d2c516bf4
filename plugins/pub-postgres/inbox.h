/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - what the parts of pub-postgres share. Each instance has one connection of libpq;
 * nothing is shared between instances.
 */
#pragma once

#include <outbox/plugin.h>
#include <outbox/wait.h>

#include <libpq-fe.h>
#include <stdbool.h>

/* PostgreSQL cuts names at so many bytes. */
#define IDENTIFIER_MAX 63

/* ---- apart.c: library calls without a limit, in a thread that can be left behind ---- */

struct apart;
/* NULL without memory or descriptors. */
struct apart *apart_new(void);
/* Waits at most so long for a call that still runs; its thread frees the rest then. */
void apart_free(struct apart *apart, int ms);
/*
 * Runs work(arg), and waits for its end within the deadline; NULL: not at all. OUTBOX_OK: arg is
 * the caller's again. OUTBOX_E_TIMEOUT, OUTBOX_E_CANCELLED: the thread keeps arg, and calls
 * drop(arg) afterwards. OUTBOX_E_RETRY: it has not begun (no thread, or an earlier one still runs),
 * and arg is the caller's.
 */
int apart_run(struct apart *apart, void (*work)(void *), void (*drop)(void *), void *arg,
              struct outbox_deadline *d);

/* ---- what an instance is ---- */

/* The options. Texts are the host's, but those of the table. */
struct settings {
    char schema[IDENTIFIER_MAX + 1], table[IDENTIFIER_MAX + 1]; /* schema: may be empty */
    const char *application;
    const char *notify, *source; /* NULL: none */
    int64_t connect_ms, publish_ms;
};

/* What becomes of a statement that has failed. */
enum failure_kind {
    FAILURE_LOST,   /* the connection is of no more use */
    FAILURE_WAIT,   /* the server cannot do it now, whatever the message */
    FAILURE_AGAIN,  /* at once again: it has lost against somebody else */
    FAILURE_TABLE,  /* something about the table: it has to be looked at again */
    FAILURE_POLICY, /* the same, unless a policy of the table does not allow a message */
    FAILURE_REJECT, /* the data of a message: never */
    FAILURE_RETRY,  /* a message, by a rule of the table's owner */
};

/* The last failure. */
struct failure {
    enum failure_kind kind;
    int code;
    char state[6];   /* the SQLSTATE; empty: libpq itself, or the time is over */
    char words[360]; /* one line */
    char text[504];  /* the same with where it was, and with advice */
};

/* Why the server refused the last connection; see connect.c. */
struct refusal {
    char message[400]; /* of libpq */
    char state[6];
    char text[300];
};

struct instance {
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;
    struct settings settings;
    struct apart *connecting, *cancelling;
    struct refusal refusal;
    PGconn *db;     /* NULL: there is no connection */
    bool dismissed; /* the server has ended the connection; then: because nothing was done */
    bool is_idle_end;
    /* So many messages go one by one: a statement with as many has ended the session, or found the
     * server in trouble, and one of them may be why. */
    uint64_t careful;
    char *insert;      /* the statement for this table; NULL: it has to be looked at */
    bool has_policies; /* of row level security, which may refuse a single message */
    struct outbox_deadline d;
    struct failure failure;
    struct outbox_reasons reasons;
    char text[504];
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);
int settings_check_conninfo(const char *conninfo, struct outbox_err *err);

/* connect.c: makes x->db, within x->d. */
int connect_open(struct instance *x, struct outbox_err *err);

/* failure.c: fills x->failure and *err; returns its code. */
int failure_of(struct instance *x, const PGresult *result, struct outbox_err *err);
int failure_set(struct instance *x, const PGconn *db, const char *state, bool in_function,
                const char *text, struct outbox_err *err);

/* ---- session.c ---- */

/* One statement of a pipeline. */
struct step {
    const char *sql;
    int n;
    const Oid *types;
    const char *const *values;
    const int *lengths; /* NULL: all values are texts */
};
#define STEPS_MAX 3

/* Connects, if there is no live connection. */
int session_enter(struct instance *x, struct outbox_err *err);
void session_close(struct instance *x);
/* The server has ended the connection while nothing was under way: then it is closed. */
bool session_has_ended(struct instance *x);
/*
 * Runs the steps as one transaction, in one round trip. OUTBOX_OK: it is committed; *ret, unless
 * NULL, is the result of the last one, for PQclear. Otherwise x->failure says why. When the time is
 * over or the connection is lost, nobody knows whether it is committed.
 */
int session_run(struct instance *x, const struct step *steps, size_t n, PGresult **ret,
                struct outbox_err *err);

/* ---- table.c ---- */

/* Looks whether the table is what it must be, and makes x->insert. */
int table_look(struct instance *x, struct outbox_err *err);

/* ---- rows.c: messages as the arguments of the statement ---- */

#define ROWS_COLUMNS 8
/* What one statement takes, unless one message has more. */
#define ROWS_BYTES (16u << 20)
/* What one message may have: the server takes no more than 1 GiB at once. */
#define ROWS_BYTES_MAX (1000u << 20)

struct rows {
    char *p; /* NULL without memory */
    size_t n, cap;
    bool failed;
    size_t at[ROWS_COLUMNS];
    int lengths[ROWS_COLUMNS];
    const char *values[ROWS_COLUMNS];
};

extern const Oid rows_types[ROWS_COLUMNS];
/* How many bytes a message takes at most. */
uint64_t rows_size(const struct outbox_message *msg);
/* False without memory. */
bool rows_fill(struct rows *rows, const struct outbox_message *const *msgs, size_t n,
               const char *source);
void rows_free(struct rows *rows);

/* publish.c */
int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
            const struct outbox_call *call, struct outbox_outcome *const *outcomes,
            struct outbox_err *err);
