/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - a connection at work. libpq is used without blocking throughout: in a pipeline both
 * sides can wait for the other to read.
 */
#include "inbox.h"

/* MATERIALIZED and all that is asked of the catalog. */
#define SERVER_MIN 130000

/* ---- its beginning and end ---- */

void session_close(struct instance *x)
{
    PQfinish(x->db);
    x->db = NULL;
    free(x->insert);
    x->insert = NULL;
}

/* Every notice of the server, between calls too: only the last one before it hangs up matters. */
static void take_notice(void *arg, const PGresult *notice)
{
    struct instance *x = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    if (!severity || (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0))
        return;
    x->dismissed = true;
    x->is_idle_end = state && strcmp(state, "57P05") == 0;
    failure_set(x, x->db, state, false, text ? text : "", NULL);
}

bool session_has_ended(struct instance *x)
{
    struct pollfd fd = {.events = POLLIN};
    bool ended = false;
    if (!x->db)
        return false;
    fd.fd = PQsocket(x->db);
    while (!ended && poll(&fd, 1, 0) > 0)
        ended = !PQconsumeInput(x->db) || PQisBusy(x->db) || PQstatus(x->db) != CONNECTION_OK ||
                x->dismissed;
    if (ended) {
        snprintf(x->text, sizeof x->text, "the connection has ended: %s",
                 x->dismissed ? x->failure.words : "the server is gone");
        x->dismissed = true;
        session_close(x);
    }
    return ended;
}

int session_enter(struct instance *x, struct outbox_err *err)
{
    int r, version;
    session_has_ended(x);
    if (x->db)
        return OUTBOX_OK;
    x->dismissed = x->is_idle_end = false;
    r = connect_open(x, err);
    if (r < 0)
        return r;
    PQsetNoticeReceiver(x->db, take_notice, x);
    version = PQserverVersion(x->db);
    if (version < SERVER_MIN) {
        session_close(x);
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the server is PostgreSQL %d; 13 or later is needed", version / 10000);
    }
    outbox_logf(x->host, OUTBOX_LOG_DEBUG, "connected to %s", PQhost(x->db));
    return OUTBOX_OK;
}

/* ---- a statement that nobody waits for any longer ---- */

#ifdef LIBPQ_HAS_ASYNC_CANCEL
static void cancel(void *arg)
{
    PQcancelBlocking(arg);
}
static void drop_cancel(void *arg)
{
    PQcancelFinish(arg);
}
#else
static void cancel(void *arg)
{
    char text[256];
    PQcancel(arg, text, sizeof text);
}
static void drop_cancel(void *arg)
{
    PQfreeCancel(arg);
}
#endif

/* So that it holds no locks; besides, the server ends it by statement_timeout. Before libpq 17 the
 * request, with the key of the session, is sent in the clear: not where the session is not. */
static void cancel_statement(struct instance *x)
{
    void *request;
#ifdef LIBPQ_HAS_ASYNC_CANCEL
    request = PQcancelCreate(x->db);
#else
    request = PQsslInUse(x->db) ? NULL : PQgetCancel(x->db);
#endif
    if (request && apart_run(x->cancelling, cancel, drop_cancel, request, NULL) == OUTBOX_E_RETRY)
        drop_cancel(request);
}

/* ---- running ---- */

static bool send_steps(PGconn *db, const struct step *steps, size_t n)
{
    static const int binary[ROWS_COLUMNS] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (!PQenterPipelineMode(db))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!PQsendQueryParams(db, steps[i].sql, steps[i].n, steps[i].types, steps[i].values,
                               steps[i].lengths, steps[i].lengths ? binary : NULL, 0))
            return false;
    return PQpipelineSync(db);
}

/* The next result, NULL between two statements. OUTBOX_E_BROKEN: the connection is lost. */
static int next_result(struct instance *x, PGresult **ret)
{
    int r = OUTBOX_OK, unsent;
    *ret = NULL;
    while (r == OUTBOX_OK && ((unsent = PQflush(x->db)) != 0 || PQisBusy(x->db))) {
        if (unsent < 0 || PQstatus(x->db) != CONNECTION_OK)
            return OUTBOX_E_BROKEN;
        r = outbox_wait(&x->d, PQsocket(x->db), unsent > 0 ? POLLIN | POLLOUT : POLLIN, 1);
        if (r == OUTBOX_OK && !PQconsumeInput(x->db))
            return OUTBOX_E_BROKEN;
    }
    if (r == OUTBOX_OK)
        *ret = PQgetResult(x->db);
    if (r == OUTBOX_OK && !*ret && PQstatus(x->db) != CONNECTION_OK)
        return OUTBOX_E_BROKEN;
    return r;
}

/*
 * Receives everything up to the end of the transaction: *ret is the last good result, *ret_failed
 * the first bad one. The commit, which a deferred constraint may refuse, comes before that end.
 */
static int receive(struct instance *x, PGresult **ret, PGresult **ret_failed)
{
    PGresult *result;
    int r;
    while ((r = next_result(x, &result)) == OUTBOX_OK) {
        ExecStatusType status = PQresultStatus(result);
        if (!result)
            continue;
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return OUTBOX_OK;
        }
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
            PQclear(*ret);
            *ret = result;
        } else if (status != PGRES_PIPELINE_ABORTED && !*ret_failed) {
            *ret_failed = result;
        } else {
            PQclear(result);
        }
    }
    return r;
}

static int fail_in_time(struct instance *x, struct outbox_err *err)
{
    int r = x->d.cancelled ? OUTBOX_E_CANCELLED : OUTBOX_E_TIMEOUT;
    failure_set(x, x->db, NULL, false,
                x->d.cancelled ? "cancelled while the server worked" : "no answer in time", err);
    if (err)
        err->code = r;
    return x->failure.code = r;
}

int session_run(struct instance *x, const struct step *steps, size_t n, PGresult **ret,
                struct outbox_err *err)
{
    PGresult *last = NULL, *failed = NULL;
    int r = OUTBOX_E_BROKEN, transport = OUTBOX_E_BROKEN;
    if (send_steps(x->db, steps, n))
        transport = receive(x, &last, &failed);
    if (transport == OUTBOX_OK && !PQexitPipelineMode(x->db))
        transport = OUTBOX_E_BROKEN;
    if (failed)
        r = failure_of(x, failed, err);
    else if (transport == OUTBOX_OK)
        r = OUTBOX_OK;
    else if (transport == OUTBOX_E_TIMEOUT)
        r = fail_in_time(x, err);
    else if (x->dismissed) /* its last words are a better reason than that it is gone */
        r = outbox_fail(err, OUTBOX_E_RETRY, "the connection has ended: %s", x->failure.words);
    else
        r = failure_of(x, NULL, err);
    if (transport == OUTBOX_E_TIMEOUT)
        cancel_statement(x);
    if (transport != OUTBOX_OK)
        x->failure.kind = FAILURE_LOST;
    if (r < 0 && x->failure.kind == FAILURE_LOST)
        session_close(x);
    if (ret && r == OUTBOX_OK)
        *ret = last;
    else
        PQclear(last);
    PQclear(failed);
    return r;
}
