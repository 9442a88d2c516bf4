/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/conn.h"

#include <stdlib.h>

#define SCRATCH_BYTES (512 << 10)

static char *copy(struct outbox_str text)
{
    return text.p ? strndup(text.p, (size_t)text.n) : NULL;
}

int conn_init(struct conn *conn, const struct outbox_host *host, const struct table_name *name,
              struct outbox_str conninfo, struct outbox_str password)
{
    *conn = (struct conn){
        .host = host,
        .name = name,
        .conninfo = copy(conninfo),
        .password = copy(password),
        .deadline = {.host = host, .cancel_fd = -1},
        .scratch = ARENA_INIT(SCRATCH_BYTES),
        .connecting = timed_call_new(),
    };
    bool ok = conn->connecting && conn->conninfo && (conn->password || !password.p);
    return ok ? OUTBOX_OK : OUTBOX_E_RETRY;
}

void conn_free(struct conn *conn)
{
    conn_close(conn);
    arena_free(&conn->scratch);
    timed_call_free(conn->connecting);
    free(conn->schema);
    free(conn->conninfo);
    if (conn->password)
        explicit_bzero(conn->password, strlen(conn->password));
    free(conn->password);
}

void conn_close(struct conn *conn)
{
    PQfinish(conn->db);
    conn->db = NULL;
    memset(conn->prepared, 0, sizeof conn->prepared);
}

bool conn_has_session(const struct conn *conn, uint64_t session)
{
    return conn->db && conn->session == session;
}
