/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/save-postgres.h - writes messages in your own PostgreSQL transaction. It is a header only:
 * your program links libpq; liboutbox does not.
 *
 *     struct outbox_exec exec = outbox_exec_postgres(conn);
 *     PQexec(conn, "BEGIN");
 *     ... your own change ...
 *     outbox_save(store, messages, n, &exec, 0, &err);
 *     PQexec(conn, "COMMIT");
 *
 * The connection stays yours. outbox_save blocks on it and uses its search_path, encoding (which
 * must be UTF-8) and time-outs; no other statement may be running on it. After a failure PostgreSQL
 * has aborted the transaction: roll it back.
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

/** The class of a failed statement: OUTBOX_E_RETRY if the same transaction may succeed later. */
static inline int outbox_postgres_class(PGconn *conn, const PGresult *result)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : OUTBOX_NULL;
    if (PQstatus(conn) != CONNECTION_OK || !state)
        return OUTBOX_E_RETRY;
    /* connection, resources, operator intervention, serialization, locks */
    return strncmp(state, "08", 2) == 0 || strncmp(state, "53", 2) == 0 ||
                   strncmp(state, "57", 2) == 0 || strncmp(state, "40", 2) == 0 ||
                   strncmp(state, "55", 2) == 0
               ? OUTBOX_E_RETRY
               : OUTBOX_E_CONFIG;
}

/** The `run` of outbox_exec: one statement on the PGconn * in ctx, in its current transaction. */
static inline int outbox_postgres_run(void *ctx, const char *sql,
                                      const struct outbox_arg *const *args, uint64_t n,
                                      struct outbox_err *err)
{
    PGconn *conn = OUTBOX_CAST(PGconn *, ctx);
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
        formats[i] = 1; /* binary: texts and bytes unchanged */
        values[i] = arg->type == OUTBOX_ARG_NULL ? OUTBOX_NULL : arg->s.p;
        lengths[i] = OUTBOX_CAST(int, arg->s.n);
        if (arg->type == OUTBOX_ARG_INT) {
            snprintf(numbers[i], sizeof numbers[i], "%lld", OUTBOX_CAST(long long, arg->i));
            values[i] = numbers[i];
            formats[i] = 0;
        } else if (arg->s.n > INT_MAX) {
            return outbox_fail(err, OUTBOX_E_CONFIG, "a value is longer than 2 GiB");
        }
    }
    result = PQexecParams(conn, sql, OUTBOX_CAST(int, n), OUTBOX_NULL, values, lengths, formats, 0);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
        const char *text =
            result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : OUTBOX_NULL;
        r = outbox_fail(err, outbox_postgres_class(conn, result), "cannot write the message: %s",
                        text ? text : PQerrorMessage(conn));
    }
    PQclear(result);
    return r;
}

/** An exec for outbox_save that writes on this connection. The exec borrows the connection. */
static inline struct outbox_exec outbox_exec_postgres(PGconn *conn)
{
    struct outbox_exec exec = {sizeof exec, 0, OUTBOX_NULL, outbox_postgres_run};
    exec.ctx = conn;
    return exec;
}

#ifdef __cplusplus
}
#endif
#endif
