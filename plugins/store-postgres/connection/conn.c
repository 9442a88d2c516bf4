/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/pipeline.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

#define SCRATCH_BYTES (512 << 10)
#define SERVER_MIN 130000

int conn_init(struct conn *conn, const struct outbox_host *host, const struct outbox_cfg *cfg,
              const char *option, const struct table_name *name)
{
    *conn = (struct conn){
        .host = host,
        .cfg = cfg,
        .option = option,
        .name = name,
        .deadline = {.host = host, .cancel_fd = -1},
        .scratch = ARENA_INIT(SCRATCH_BYTES),
        .connecting = timed_call_new(),
    };
    return conn->connecting ? OUTBOX_OK : OUTBOX_E_RETRY;
}

void conn_free(struct conn *conn)
{
    conn_close(conn);
    arena_free(&conn->scratch);
    timed_call_free(conn->connecting);
    free(conn->schema);
}

void conn_close(struct conn *conn)
{
    PQfinish(conn->db);
    conn->db = NULL;
    conn->is_outdated = false;
    conn->applied.statement_ms = 0;
    memset(conn->prepared, 0, sizeof conn->prepared);
}

bool conn_has_session(const struct conn *conn, uint64_t session)
{
    return conn->db && conn->session == session;
}

int conn_token(int64_t *ret, struct outbox_err *err)
{
    if (getrandom(ret, sizeof *ret, 0) != sizeof *ret)
        return outbox_fail(err, OUTBOX_E_RETRY, "no random numbers: %m");
    *ret = (int64_t)((uint64_t)*ret >> 1) | 1;
    return OUTBOX_OK;
}

/* ---- the beginning of a call ---- */

/* Every notice of the server, between calls too; only the last one before it hangs up matters. */
static void take_notice(void *arg, const PGresult *notice)
{
    struct conn *conn = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    conn->is_dismissed |=
        severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* A server that ended the connection has sent a notice, and then hung up. */
static void drop_dead(struct conn *conn)
{
    struct pollfd fd = {.fd = conn->db ? PQsocket(conn->db) : -1, .events = POLLIN};
    while (conn->db && poll(&fd, 1, 0) > 0)
        if (!PQconsumeInput(conn->db) || PQisBusy(conn->db) ||
            PQstatus(conn->db) != CONNECTION_OK || conn->is_dismissed)
            conn_close(conn);
}

void conn_resume(struct conn *conn, const struct outbox_call *call)
{
    deadline_begin(&conn->deadline, call);
    conn->sqlstate[0] = '\0';
    arena_reset(&conn->scratch);
    if (conn->is_outdated)
        conn_close(conn);
    drop_dead(conn);
}

/* A pooler answers with a key of its own for cancelling, not with its server's. Until that is known
 * nothing may be left behind in a session. */
static int find_pooler(struct conn *conn, struct outbox_err *err)
{
    int64_t pid;
    conn->pooled = true;
    int r = pipeline_number(conn, "SELECT pg_catalog.pg_backend_pid()", NULL, &pid, err);
    if (r == OUTBOX_OK)
        conn->pooled = pid != PQbackendPID(conn->db);
    return r;
}

int conn_open(struct conn *conn, const char *purpose, struct outbox_err *err)
{
    int64_t key;
    int r = conn_token(&key, err);
    if (r == 0)
        r = connect_open(conn, purpose, err);
    if (r < 0)
        return r;
    conn->is_dismissed = false;
    conn->statements_key = (uint32_t)key;
    PQsetNoticeReceiver(conn->db, take_notice, conn);
    if (PQserverVersion(conn->db) < SERVER_MIN)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "PostgreSQL at %s has version %d; 13 or later is needed", PQhost(conn->db),
                        PQserverVersion(conn->db) / 10000);
    else
        r = find_pooler(conn, err);
    if (r < 0)
        conn_close(conn);
    return r;
}

int conn_enter(struct conn *conn, const struct outbox_call *call, struct outbox_err *err)
{
    conn_resume(conn, call);
    return conn->db ? OUTBOX_OK : conn_open(conn, "outboxd", err);
}
