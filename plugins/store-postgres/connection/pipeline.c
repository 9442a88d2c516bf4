/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline.c - libpq is used without blocking throughout: a pipeline can deadlock otherwise, when
 * both sides wait for the other to read.
 */
#include "connection/pipeline.h"
#include "common/failpoint.h"

#include <inttypes.h>
#include <stdlib.h>

/* A statement that runs when the call is cancelled may take so much longer, ms. */
#define CANCEL_GRACE_MS 500
/* So much is always left for a rollback, ms. */
#define ROLLBACK_MS 200
/* A caller's, and those that run_pooled or pipeline_try adds. */
#define STEPS_MAX 13
/* The SQLSTATE of a server's own lack of memory. */
#define NO_MEMORY "53200"

/* Waits for the server; a statement that runs when the call is cancelled may end, if it does so
 * soon. */
static int wait_for_server(struct conn *conn, bool write)
{
    struct deadline *d = &conn->deadline;
    int r = deadline_poll(d, PQsocket(conn->db), write), cancel_fd = d->cancel_fd;
    if (r != OUTBOX_E_CANCELLED)
        return r;
    deadline_shorten(d, CANCEL_GRACE_MS);
    d->cancel_fd = -1;
    r = deadline_poll(d, PQsocket(conn->db), write);
    d->cancel_fd = cancel_fd;
    return r == OUTBOX_E_TIMEOUT ? OUTBOX_E_CANCELLED : r;
}

/* ---- sending ---- */

static bool is_prepared_by_name(const struct conn *conn, enum stmt stmt)
{
    return stmt != STMT_NONE && conn->prepare != PREPARE_OFF && !conn->prepare_is_off &&
           (conn->prepare == PREPARE_ON || !conn->pooled);
}

/* What a step needs while it is under way. */
struct sending {
    char *text; /* of a statement that is not prepared yet */
    bool prepares;
};

static bool send_step(struct conn *conn, const struct step *step, struct sending *x)
{
    static const struct pg_args none = {0};
    static const int binary[PG_ARGS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct pg_args *args = step->args ? step->args : &none;
    char name[32];
    if (!is_prepared_by_name(conn, step->stmt))
        return PQsendQueryParams(conn->db, x->text, args->n, args->types, args->values,
                                 args->lengths, binary, 1);
    snprintf(name, sizeof name, "outboxd%08" PRIx32 "_%d", conn->statements_key, step->stmt);
    x->prepares = x->text != NULL;
    if (x->prepares && !PQsendPrepare(conn->db, name, x->text, args->n, args->types))
        return false;
    return PQsendQueryPrepared(conn->db, name, args->n, args->values, args->lengths, binary, 1);
}

/* ---- receiving ---- */

/* The next result of the pipeline, NULL between two statements; a failure is why there is none. */
static int next_result(struct conn *conn, PGresult **ret)
{
    int r = OUTBOX_OK, unsent;
    *ret = NULL;
    while (r == OUTBOX_OK && ((unsent = PQflush(conn->db)) != 0 || PQisBusy(conn->db))) {
        if (unsent < 0 || PQstatus(conn->db) != CONNECTION_OK)
            return OUTBOX_E_BROKEN;
        r = wait_for_server(conn, unsent > 0);
        if (r == OUTBOX_OK && !PQconsumeInput(conn->db))
            return OUTBOX_E_BROKEN;
    }
    if (r == OUTBOX_OK)
        *ret = PQgetResult(conn->db);
    return r;
}

/* The one result of a statement. */
static int take_result(struct conn *conn, PGresult **ret)
{
    PGresult *rest = NULL;
    int r = next_result(conn, ret);
    if (r == OUTBOX_OK && *ret && PQresultStatus(*ret) == PGRES_PIPELINE_SYNC)
        return OUTBOX_OK;
    while (r == OUTBOX_OK && (r = next_result(conn, &rest)) == OUTBOX_OK && rest)
        PQclear(rest);
    if (r != OUTBOX_OK) {
        PQclear(*ret);
        *ret = NULL;
    }
    return r;
}

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* Keeps the first failure. */
static void note_failure(struct conn *conn, const PGresult *result, int *r, struct outbox_err *err)
{
    if (*r == OUTBOX_OK && PQresultStatus(result) != PGRES_PIPELINE_ABORTED)
        *r = failure_of(conn, conn->db, result, err);
}

/* Receives everything up to the sync. A broken connection is an error of `transport`. */
static int receive(struct conn *conn, struct step *steps, const struct sending *x, size_t n,
                   int *ret_transport, struct outbox_err *err)
{
    int r = OUTBOX_OK, transport = OUTBOX_OK;
    PGresult *result = NULL;
    for (size_t i = 0; transport == OUTBOX_OK && i < n; i++) {
        if (x[i].prepares && (transport = take_result(conn, &result)) == OUTBOX_OK) {
            if (is_good(result))
                conn->prepared[steps[i].stmt] = true;
            else
                note_failure(conn, result, &r, err);
            PQclear(result);
        }
        if (transport == OUTBOX_OK &&
            (transport = take_result(conn, &steps[i].result)) == OUTBOX_OK &&
            !is_good(steps[i].result))
            note_failure(conn, steps[i].result, &r, err);
    }
    /* An implicit commit may fail, for a deferred constraint say, and comes before the sync. */
    for (bool synced = false; transport == OUTBOX_OK && !synced;) {
        transport = take_result(conn, &result);
        synced =
            transport == OUTBOX_OK && (!result || PQresultStatus(result) == PGRES_PIPELINE_SYNC);
        if (transport == OUTBOX_OK && !synced)
            note_failure(conn, result, &r, err);
        PQclear(result);
        result = NULL;
    }
    *ret_transport = transport;
    return r;
}

/* ---- running ---- */

/* The connection failed, and what was open ends with it. */
static int lose(struct conn *conn, int transport, struct outbox_err *err)
{
    int r;
    conn->sqlstate[0] = '\0';
    if (transport == OUTBOX_E_TIMEOUT)
        r = outbox_fail(err, transport, "PostgreSQL at %s did not answer within %lld ms",
                        PQhost(conn->db), (long long)conn->deadline.timeout_ms);
    else if (transport == OUTBOX_E_CANCELLED)
        r = outbox_fail(err, transport, "the call was cancelled");
    else
        r = failure_of(conn, conn->db, NULL, err);
    conn_close(conn);
    return r;
}

void pipeline_clear(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        PQclear(steps[i].result);
        steps[i].result = NULL;
    }
}

static bool send_all(struct conn *conn, struct step *steps, struct sending *x, size_t n)
{
    if (!PQenterPipelineMode(conn->db))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!send_step(conn, &steps[i], &x[i]))
            return false;
    return PQpipelineSync(conn->db);
}

#ifdef OUTBOX_CRASH_POINTS
static bool settles(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (steps[i].stmt >= STMT_DELETE_LOCK && steps[i].stmt <= STMT_CHANGE_LEASE)
            return true;
    return false;
}
#endif

/* Before anything is sent: without memory the connection stays as it is. */
static int make_texts(struct conn *conn, struct step *steps, struct sending *x, size_t n,
                      struct outbox_err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        enum stmt stmt = steps[i].stmt;
        bool has_text = !is_prepared_by_name(conn, stmt) || !conn->prepared[stmt];
        steps[i].result = NULL;
        ok = !steps[i].args || !steps[i].args->failed;
        if (ok && has_text)
            ok = (x[i].text = table_name_render(conn->name, conn->schema, steps[i].sql)) != NULL;
    }
    if (ok)
        return OUTBOX_OK;
    snprintf(conn->sqlstate, sizeof conn->sqlstate, "%s", NO_MEMORY);
    return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

static int run(struct conn *conn, struct step *steps, size_t n, struct outbox_err *err)
{
    struct sending x[STEPS_MAX] = {{0}};
    int transport = OUTBOX_OK;
    int r = make_texts(conn, steps, x, n, err);
    bool sent = r == OUTBOX_OK && send_all(conn, steps, x, n);
    for (size_t i = 0; i < n; i++)
        free(x[i].text);
    if (r < 0)
        return r;
    if (!sent)
        return lose(conn, OUTBOX_E_BROKEN, err);
#ifdef OUTBOX_CRASH_POINTS
    if (settles(steps, n) && PQflush(conn->db) == 0)
        failpoint("in_settle"); /* whether it is done is up to the server now */
#endif
    r = receive(conn, steps, x, n, &transport, err);
    if (transport == OUTBOX_OK && !PQexitPipelineMode(conn->db))
        transport = OUTBOX_E_BROKEN;
    if (r < 0 || transport != OUTBOX_OK)
        pipeline_clear(steps, n);
    /* What the server said last is a better reason than that it went away. */
    if (r < 0 && transport != OUTBOX_OK)
        conn_close(conn);
    return r < 0 || transport == OUTBOX_OK ? r : lose(conn, transport, err);
}

/* Behind a pooler the next transaction may run in any session, and so brings its settings along:
 * they go behind the caller's BEGIN, or, where the steps have none because they are a transaction
 * by themselves, a transaction is put around both. */
static int run_pooled(struct conn *conn, struct step *settings, struct step *steps, size_t n,
                      struct outbox_err *err)
{
    struct step all[STEPS_MAX] = {STEP_BEGIN, *settings};
    size_t begins = steps[0].stmt == STMT_BEGIN, k = 2;
    for (size_t i = begins; i < n; i++)
        all[k++] = steps[i];
    if (!begins)
        all[k++] = STEP_COMMIT;
    int r = run(conn, all, k, err);
    for (size_t i = begins; i < n; i++) {
        steps[i].result = all[2 + i - begins].result;
        all[2 + i - begins].result = NULL;
    }
    pipeline_clear(all, k);
    return r;
}

static int run_with_settings(struct conn *conn, struct step *steps, size_t n,
                             struct outbox_err *err)
{
    struct step settings = {.stmt = STMT_NONE};
    int r = OUTBOX_OK;
    if (!steps[0].outside || !conn->pooled)
        r = session_settings(conn, &settings.sql, err);
    if (r == OUTBOX_OK && settings.sql && conn->pooled)
        return run_pooled(conn, &settings, steps, n, err);
    if (r == OUTBOX_OK && settings.sql) { /* by themselves: what comes now may be undone */
        r = run(conn, &settings, 1, err);
        PQclear(settings.result);
    }
    return r < 0 ? r : run(conn, steps, n, err);
}

/* There is a pooler after all, or something drops prepared statements: then without. */
static bool lost_statements(struct conn *conn)
{
    if (!failure_is(conn, "26000") && !failure_is(conn, "42P05"))
        return false;
    if (!conn->prepare_is_off)
        outbox_logf(conn->host, OUTBOX_LOG_WARNING,
                    "prepared statements do not last on this connection; outboxd goes on without "
                    "them");
    conn->prepare_is_off = true;
    return true;
}

int pipeline_run(struct conn *conn, struct step *steps, size_t n, struct outbox_err *err)
{
    for (size_t i = 0; i < n; i++)
        steps[i].result = NULL;
    if (!conn->db)
        return outbox_fail(err, OUTBOX_E_RETRY, "the connection was lost");
    bool begins = PQtransactionStatus(conn->db) == PQTRANS_IDLE;
    for (bool again = false;; again = true) {
        int r = run_with_settings(conn, steps, n, err);
        if (r == OUTBOX_OK)
            return r;
        conn->applied.statement_ms = 0;
        if (conn->db && failure_ends_connection(conn))
            conn_close(conn);
        pipeline_rollback(conn);
        if (!conn->db || again || !lost_statements(conn) || !begins)
            return r;
    }
}

int pipeline_try(struct conn *conn, struct step *steps, size_t n, struct outbox_err *err)
{
    struct step all[STEPS_MAX] = {{.sql = "SAVEPOINT outboxd_try"}};
    struct step back = {.sql = "ROLLBACK TO SAVEPOINT outboxd_try"};
    size_t k = 1;
    if (!conn->db)
        return outbox_fail(err, OUTBOX_E_RETRY, "the connection was lost");
    for (size_t i = 0; i < n; i++)
        all[k++] = steps[i];
    all[k++] = (struct step){.sql = "SET CONSTRAINTS ALL IMMEDIATE"};
    all[k++] = (struct step){.sql = "RELEASE SAVEPOINT outboxd_try"};
    int r = run(conn, all, k, err);
    for (size_t i = 0; i < n; i++) {
        steps[i].result = all[1 + i].result;
        all[1 + i].result = NULL;
    }
    pipeline_clear(all, k);
    if (r < 0 && conn->db && failure_ends_connection(conn))
        conn_close(conn);
    if (r < 0 && conn->db) {
        char sqlstate[sizeof conn->sqlstate];
        memcpy(sqlstate, conn->sqlstate, sizeof sqlstate);
        if (run(conn, &back, 1, NULL) < 0)
            conn_close(conn);
        PQclear(back.result);
        memcpy(conn->sqlstate, sqlstate, sizeof sqlstate);
    }
    return r;
}

/* One try. */
void pipeline_rollback(struct conn *conn)
{
    struct step step = {.stmt = STMT_ROLLBACK, .sql = "ROLLBACK"};
    struct deadline *d = &conn->deadline;
    int64_t until_us = d->until_us;
    char sqlstate[sizeof conn->sqlstate];
    if (!conn->db || PQtransactionStatus(conn->db) == PQTRANS_IDLE)
        return;
    memcpy(sqlstate, conn->sqlstate, sizeof sqlstate); /* the failure's, which is the reason */
    if (deadline_left_ms(d) < ROLLBACK_MS)
        d->until_us = deadline_now_us(d) + ROLLBACK_MS * 1000;
    if (run(conn, &step, 1, NULL) < 0)
        conn_close(conn);
    PQclear(step.result);
    memcpy(conn->sqlstate, sqlstate, sizeof sqlstate);
    d->until_us = until_us;
}

/* ---- one statement ---- */

int pipeline_query(struct conn *conn, enum stmt stmt, const char *sql, struct pg_args *args,
                   PGresult **ret, struct outbox_err *err)
{
    struct step step = {.stmt = stmt, .sql = sql, .args = args};
    int r = pipeline_run(conn, &step, 1, err);
    *ret = step.result;
    return r;
}

int pipeline_change(struct conn *conn, enum stmt stmt, const char *sql, struct pg_args *args,
                    uint64_t *ret_n, struct outbox_err *err)
{
    PGresult *result;
    int r = pipeline_query(conn, stmt, sql, args, &result, err);
    if (ret_n)
        *ret_n = r == OUTBOX_OK ? pipeline_changed(result) : 0;
    PQclear(result);
    return r;
}

int pipeline_number(struct conn *conn, const char *sql, struct pg_args *args, int64_t *ret,
                    struct outbox_err *err)
{
    PGresult *result;
    int r = pipeline_query(conn, STMT_NONE, sql, args, &result, err);
    *ret = r == OUTBOX_OK && PQntuples(result) > 0 ? pg_column_int(result, 0, 0) : 0;
    PQclear(result);
    return r;
}

static int exec_step(struct conn *conn, struct step step, struct outbox_err *err)
{
    int r = pipeline_run(conn, &step, 1, err);
    PQclear(step.result);
    return r;
}

int pipeline_exec(struct conn *conn, const char *sql, struct outbox_err *err)
{
    return exec_step(conn, (struct step){.sql = sql}, err);
}

int pipeline_exec_outside(struct conn *conn, const char *sql, struct outbox_err *err)
{
    return exec_step(conn, (struct step){.sql = sql, .outside = true}, err);
}

int pipeline_begin(struct conn *conn, struct outbox_err *err)
{
    return exec_step(conn, STEP_BEGIN, err);
}

int pipeline_end(struct conn *conn, int r, struct outbox_err *err)
{
    if (r == OUTBOX_OK)
        return exec_step(conn, STEP_COMMIT, err);
    pipeline_rollback(conn);
    return r;
}

uint64_t pipeline_changed(PGresult *result)
{
    return strtoull(PQcmdTuples(result), NULL, 10);
}
