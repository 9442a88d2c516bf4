/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/save-postgres.h - writes messages in your own PostgreSQL transaction. Header-only: your
 * program links libpq, liboutbox and the plugins need not know.
 *
 *     struct outbox_exec exec = outbox_exec_postgres(conn);
 *     PQexec(conn, "BEGIN");
 *     ... your own change ...
 *     outbox_save(store, messages, n, &exec, 0, &err);
 *     PQexec(conn, "COMMIT");
 *
 * The connection is used as it is, blocking, with its own search_path, encoding (UTF-8 is what
 * messages are in) and time-outs; it must be able to take a statement. After a failure the
 * transaction is aborted, as after any failed statement of PostgreSQL: roll it back.
 */
#ifndef OUTBOX_SAVE_POSTGRES_H
#define OUTBOX_SAVE_POSTGRES_H

#include <outbox/helpers.h>
#include <outbox/store.h>

#include <libpq-fe.h>

#include <limits.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OUTBOX_POSTGRES_ARGS_MAX 16

/** The class of a failed statement: OUTBOX_E_RETRY where the same transaction may succeed later. */
static inline int outbox_postgres_class(PGconn *conn, const PGresult *result)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (PQstatus(conn) != CONNECTION_OK || !state)
        return OUTBOX_E_RETRY;
    /* connection, resources, operator intervention, serialization, locks */
    return strncmp(state, "08", 2) == 0 || strncmp(state, "53", 2) == 0 ||
                   strncmp(state, "57", 2) == 0 || strncmp(state, "40", 2) == 0 ||
                   strncmp(state, "55", 2) == 0
               ? OUTBOX_E_RETRY
               : OUTBOX_E_CONFIG;
}

/** Runs one statement on the PGconn * that is its ctx, in whatever transaction that is in. */
static inline int outbox_postgres_run(void *ctx, const char *sql,
                                      const struct outbox_arg *const *args, uint64_t n,
                                      struct outbox_err *err)
{
    PGconn *conn = (PGconn *)ctx;
    const char *values[OUTBOX_POSTGRES_ARGS_MAX];
    int lengths[OUTBOX_POSTGRES_ARGS_MAX], formats[OUTBOX_POSTGRES_ARGS_MAX];
    char numbers[OUTBOX_POSTGRES_ARGS_MAX][24];
    PGresult *result;
    uint64_t i;
    int r = OUTBOX_OK;
    if (n > OUTBOX_POSTGRES_ARGS_MAX)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "a statement with more than %d arguments",
                           OUTBOX_POSTGRES_ARGS_MAX);
    for (i = 0; i < n; i++) {
        const struct outbox_arg *arg = args[i];
        formats[i] = 1; /* texts and bytes as they are */
        values[i] = arg->type == OUTBOX_ARG_NULL ? NULL : arg->s.p;
        lengths[i] = (int)arg->s.n;
        if (arg->type == OUTBOX_ARG_INT) {
            snprintf(numbers[i], sizeof numbers[i], "%lld", (long long)arg->i);
            values[i] = numbers[i];
            formats[i] = 0;
        } else if (arg->s.n > INT_MAX) {
            return outbox_fail(err, OUTBOX_E_CONFIG, "a value is longer than 2 GiB");
        }
    }
    result = PQexecParams(conn, sql, (int)n, NULL, values, lengths, formats, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
        const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
        r = outbox_fail(err, outbox_postgres_class(conn, result), "cannot write the message: %s",
                        text ? text : PQerrorMessage(conn));
    }
    PQclear(result);
    return r;
}

/** For outbox_save: writes through this connection. It is borrowed. */
static inline struct outbox_exec outbox_exec_postgres(PGconn *conn)
{
    struct outbox_exec exec = {sizeof exec, 0, NULL, outbox_postgres_run};
    exec.ctx = conn;
    return exec;
}

#ifdef __cplusplus
}
#endif
#endif
