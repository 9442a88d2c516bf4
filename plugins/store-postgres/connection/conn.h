/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - a connection to the database, which is made when it is needed and dropped when it is of
 * no more use. One thread at a time uses it.
 */
#pragma once

#include "common/arena.h"
#include "common/timed_call.h"
#include "connection/deadline.h"
#include "connection/table_name.h"

#include <libpq-fe.h>

/* No delay or age is longer: so that a time stays one that PostgreSQL can hold. */
#define TIME_MAX_MS INT64_C(100000000000000)

/* Statements that are prepared once for each connection; each belongs to one place in the code. */
enum stmt {
    STMT_NONE, /* not prepared */
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_XID,
    STMT_BACKLOG,
    STMT_EXPIRE,
    STMT_ADOPT,
    STMT_FRESH_LOCK,
    STMT_FRESH_LEASE,
    STMT_DUE_LOCK,
    STMT_DUE_LEASE,
    STMT_PAYLOADS,
    STMT_LEASE_LOCK,
    STMT_LEASE_END,
    STMT_RELEASE,
    STMT_DELETE_LOCK,
    STMT_DELETE_LEASE,
    STMT_KEEP_LOCK,
    STMT_KEEP_LEASE,
    STMT_CHANGE_LOCK,
    STMT_CHANGE_LEASE,
    STMT_RELAY_PUT,
    STMT_RELAY_TIDY,
    N_STMTS
};

enum prepare { PREPARE_AUTO, PREPARE_ON, PREPARE_OFF };

/* What a session was set to. */
struct applied_settings {
    int64_t statement_ms; /* 0: nothing, as far as known */
    int64_t hold_ms;
    bool planner_is_free;
    bool policies_pass;
};

/* Why a server did not take a connection. */
struct refusal {
    char message[400]; /* of libpq; empty: none yet */
    char state[6];     /* empty: not known */
    char text[200];
};

struct conn {
    /* ---- given once */
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;  /* has the secrets, which are read at each login */
    const char *option;            /* the conninfo's name */
    const struct table_name *name; /* the owner's */
    enum prepare prepare;

    /* ---- of the call that runs */
    struct deadline deadline;
    struct arena scratch;
    char sqlstate[6]; /* of its last failure; empty: none */
    bool is_of_id;    /* as its details are about the column `id`, or there are none */
    char words[300];  /* the server's, of that failure, in one line */

    /* ---- what the next transactions need of their session */
    int64_t hold_ms;      /* how long one may stay open while idle; 0: none is kept so */
    bool planner_is_free; /* upgrading: the planner may sort and scan */
    bool is_owner;        /* `outboxd init`: what is missing are not the relay's privileges */

    /* ---- connecting */
    struct timed_call *connecting;
    struct refusal refusal; /* the last one */

    /* ---- the session */
    PGconn *db;        /* NULL: not connected */
    uint64_t session;  /* counts the sessions of this struct conn, from 1 */
    bool is_dismissed; /* the server ends the connection */
    bool is_outdated;  /* the next call wants a new one */
    bool pooled;       /* behind a pooler: nothing of a session lasts */
    bool prepared[N_STMTS];
    uint32_t statements_key; /* in their names: a pooler mixes connections up */
    bool prepare_is_off;     /* they did not last */
    struct applied_settings applied;

    /* ---- the table, found at connecting */
    char *schema;       /* stays the same while the table is there */
    uint32_t oid;       /* 0: it does not exist */
    bool policies_pass; /* row security is on for our role, and hides nothing from it */
};

/* ---- conn.c ---- */

/* `option`, a literal, names the conninfo. OUTBOX_E_RETRY without memory; conn_free in any case. */
int conn_init(struct conn *conn, const struct outbox_host *host, const struct outbox_cfg *cfg,
              const char *option, const struct table_name *name);
void conn_free(struct conn *conn);
/* Begins a call: sets its deadline, and notices whether the server has hung up. Connects to
 * nothing. */
void conn_resume(struct conn *conn, const struct outbox_call *call);
/* The same, and connects if there is no connection. */
int conn_enter(struct conn *conn, const struct outbox_call *call, struct outbox_err *err);
/* Connects within the deadline that is set; `purpose`, a literal, is the application_name unless
 * conninfo has one. */
int conn_open(struct conn *conn, const char *purpose, struct outbox_err *err);
/* Drops the session, and what it holds with it. */
void conn_close(struct conn *conn);
/* Is that session still connected, as far as known? 0 never is. */
bool conn_has_session(const struct conn *conn, uint64_t session);
/* A random number: positive, and no other session's or claim's. */
int conn_token(int64_t *ret, struct outbox_err *err);

/* ---- connect.c ---- */

/* Does conninfo make sense? OUTBOX_E_CONFIG; shows nothing of it. */
int connect_check_conninfo(const char *option, const char *conninfo, struct outbox_err *err);
/* What conn_open does first. */
int connect_open(struct conn *conn, const char *purpose, struct outbox_err *err);

/* ---- session.c ---- */

/* A statement with the settings that the next ones need, in scratch; *ret NULL: they are in force.
 */
int session_settings(struct conn *conn, const char **ret, struct outbox_err *err);
