/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/enter.h"
#include "connection/connect.h"
#include "connection/pg_column.h"
#include "connection/pipeline.h"
#include "connection/random.h"
#include "connection/session.h"

#include <poll.h>

#define SERVER_MIN 120000

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

void enter_resume(struct conn *conn, const struct outbox_call *call)
{
    deadline_begin(&conn->deadline, call);
    conn->sqlstate[0] = '\0';
    arena_reset(&conn->scratch);
    drop_dead(conn);
}

/* A pooler answers with a key of its own for cancelling, not with its server's. Until that is known
 * nothing may be left behind in a session. */
static int find_pooler(struct conn *conn, struct outbox_err *err)
{
    PGresult *pid;
    conn->pooled = true;
    session_forget(conn);
    int r = pipeline_query(conn, STMT_NONE, "SELECT pg_catalog.pg_backend_pid()", NULL, &pid, err);
    if (r < 0)
        return r;
    conn->pooled = pg_column_int(pid, 0, 0) != PQbackendPID(conn->db);
    session_forget(conn);
    PQclear(pid);
    return OUTBOX_OK;
}

int enter_connect(struct conn *conn, const char *purpose, struct outbox_err *err)
{
    int64_t key;
    int r = random_token(&key, err);
    if (r == 0)
        r = connect_open(conn, purpose, err);
    if (r < 0)
        return r;
    conn->is_dismissed = false;
    conn->statements_key = (uint32_t)key;
    PQsetNoticeReceiver(conn->db, take_notice, conn);
    if (PQserverVersion(conn->db) < SERVER_MIN)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "PostgreSQL at %s has version %d; 12 or later is needed", PQhost(conn->db),
                        PQserverVersion(conn->db) / 10000);
    else
        r = find_pooler(conn, err);
    if (r < 0)
        conn_close(conn);
    return r;
}

int enter_connected(struct conn *conn, const struct outbox_call *call, struct outbox_err *err)
{
    enter_resume(conn, call);
    return conn->db ? OUTBOX_OK : enter_connect(conn, "outboxd", err);
}
