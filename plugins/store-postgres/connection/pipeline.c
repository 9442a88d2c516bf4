/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline.c - statements to the server and their results back, several in one round trip, none
 * without a deadline. libpq is used without blocking throughout: a pipeline can deadlock otherwise.
 */
#include "common/failpoint.h"
#include "postgres.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is under way when the host wants the call back may take so long, ms. */
#define CANCEL_GRACE_MS 500
/* So much is always left for a rollback, ms. */
#define ROLLBACK_MS 200
#define STEPS_MAX 10
/* The SQLSTATE of a server's own lack of memory. */
#define NO_MEMORY "53200"

/* ---- time ---- */

int64_t db_left_ms(const struct store *s)
{
    return (s->deadline_us - s->host->monotonic_us(s->host)) / 1000;
}

bool db_rest(const struct store *s, int64_t ms)
{
    struct pollfd cancel = {.fd = s->cancel_fd, .events = POLLIN};
    int64_t left = db_left_ms(s);
    int n = poll(&cancel, 1, (int)(left < ms ? left < 0 ? 0 : left : ms));
    return n <= 0 && left > ms;
}

int db_poll(struct store *s, PGconn *db, bool write)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = PQsocket(db), .events = write ? POLLIN | POLLOUT : POLLIN},
                               {.fd = s->cancel_fd, .events = POLLIN}};
        int64_t left = db_left_ms(s);
        if (left <= 0)
            return OUTBOX_E_TIMEOUT;
        int n = poll(fds, s->cancel_fd >= 0 ? 2 : 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n < 0 && errno != EINTR)
            return OUTBOX_E_TIMEOUT;
        if (n > 0 && fds[0].revents)
            return OUTBOX_OK;
        if (n > 0)
            return OUTBOX_E_CANCELLED;
    }
}

/* What is under way is let end, if that is soon. */
static int poll_to_end(struct store *s, bool write)
{
    int r = db_poll(s, s->db, write);
    if (r != OUTBOX_E_CANCELLED)
        return r;
    int64_t soon = s->host->monotonic_us(s->host) + CANCEL_GRACE_MS * 1000;
    int cancel_fd = s->cancel_fd;
    if (soon < s->deadline_us)
        s->deadline_us = soon;
    s->cancel_fd = -1;
    r = db_poll(s, s->db, write);
    s->cancel_fd = cancel_fd;
    return r == OUTBOX_E_TIMEOUT ? OUTBOX_E_CANCELLED : r;
}

/* ---- sending ---- */

static bool prepares(const struct store *s, enum slot slot)
{
    return slot != SLOT_NONE && s->preparing != PREPARE_OFF && !s->prepare_is_off &&
           (s->preparing == PREPARE_ON || !s->pooled);
}

/* The text of a statement that is not prepared yet. */
static bool has_text(const struct store *s, const struct step *step)
{
    return !prepares(s, step->slot) || !s->prepared[step->slot];
}

/* `sql`: its text, if it has one. */
static bool send_step(struct store *s, const struct step *step, const char *sql, bool *ret_prepares)
{
    static const struct args none = {0};
    static const int binary[ARGS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct args *args = step->args ? step->args : &none;
    char name[32];
    bool ok = true, by_name = prepares(s, step->slot);
    snprintf(name, sizeof name, "outboxd%08" PRIx32 "_%d", s->statements_key, step->slot);
    *ret_prepares = by_name && sql;
    if (sql)
        ok = by_name ? PQsendPrepare(s->db, name, sql, args->n, args->types)
                     : PQsendQueryParams(s->db, sql, args->n, args->types, args->values,
                                         args->lengths, binary, 1);
    if (ok && by_name)
        ok = PQsendQueryPrepared(s->db, name, args->n, args->values, args->lengths, binary, 1);
    return ok;
}

/* ---- receiving ---- */

/* The next result of the pipeline, NULL between two statements; r tells why there is none. */
static int next_result(struct store *s, PGresult **ret)
{
    int r = OUTBOX_OK, unsent;
    *ret = NULL;
    while (r == OUTBOX_OK && ((unsent = PQflush(s->db)) != 0 || PQisBusy(s->db))) {
        if (unsent < 0 || PQstatus(s->db) != CONNECTION_OK)
            return OUTBOX_E_BROKEN;
        r = poll_to_end(s, unsent > 0);
        if (r == OUTBOX_OK && !PQconsumeInput(s->db))
            return OUTBOX_E_BROKEN;
    }
    if (r == OUTBOX_OK)
        *ret = PQgetResult(s->db);
    return r;
}

/* The one result of a statement. */
static int take_result(struct store *s, PGresult **ret)
{
    PGresult *rest = NULL;
    int r = next_result(s, ret);
    if (r == OUTBOX_OK && *ret && PQresultStatus(*ret) == PGRES_PIPELINE_SYNC)
        return OUTBOX_OK;
    while (r == OUTBOX_OK && (r = next_result(s, &rest)) == OUTBOX_OK && rest)
        PQclear(rest);
    return r;
}

static bool is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* Keeps the first failure. */
static void note_failure(struct store *s, const PGresult *result, int *r, struct outbox_err *err)
{
    if (*r == OUTBOX_OK && PQresultStatus(result) != PGRES_PIPELINE_ABORTED)
        *r = failure_of(s, s->db, result, err);
}

/* Receives everything up to the sync. A broken connection is an error of `transport`. */
static int receive(struct store *s, struct step *steps, const bool *preparing, size_t n,
                   int *ret_transport, struct outbox_err *err)
{
    int r = OUTBOX_OK, transport = OUTBOX_OK;
    PGresult *result = NULL;
    for (size_t i = 0; transport == OUTBOX_OK && i < n; i++) {
        if (preparing[i] && (transport = take_result(s, &result)) == OUTBOX_OK) {
            if (is_good(result))
                s->prepared[steps[i].slot] = true;
            else
                note_failure(s, result, &r, err);
            PQclear(result);
        }
        if (transport == OUTBOX_OK && (transport = take_result(s, &steps[i].result)) == OUTBOX_OK &&
            !is_good(steps[i].result))
            note_failure(s, steps[i].result, &r, err);
    }
    if (transport == OUTBOX_OK && (transport = take_result(s, &result)) == OUTBOX_OK) {
        if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
            note_failure(s, result, &r,
                         err); /* a deferred constraint, say: at the implicit commit */
        PQclear(result);
    }
    *ret_transport = transport;
    return r;
}

/* ---- running ---- */

/* The connection ended, or did not answer in time: what it was doing ends with it. */
static int lose(struct store *s, int transport, struct outbox_err *err)
{
    int r;
    if (transport == OUTBOX_E_TIMEOUT || transport == OUTBOX_E_CANCELLED) {
        s->failed_state[0] = '\0';
        r = s->failure =
            outbox_fail(err, transport, "PostgreSQL at %s did not answer within %lld ms",
                        PQhost(s->db), (long long)s->timeout_ms);
        if (transport == OUTBOX_E_CANCELLED)
            outbox_fail(err, transport, "called back");
    } else {
        r = failure_of(s, s->db, NULL, err);
    }
    db_close(s);
    return r;
}

static void clear(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        PQclear(steps[i].result);
        steps[i].result = NULL;
    }
}

static bool send_all(struct store *s, const struct step *steps, char *const *texts, size_t n,
                     bool *preparing)
{
    if (!PQenterPipelineMode(s->db))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!send_step(s, &steps[i], texts[i], &preparing[i]))
            return false;
    return PQpipelineSync(s->db);
}

#ifdef OUTBOX_CRASH_POINTS
static bool settles(const struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (steps[i].slot >= SLOT_DELETE_LOCK && steps[i].slot <= SLOT_CHANGE_LEASE)
            return true;
    return false;
}
#endif

/* Before anything is sent; the connection is none the worse without memory. */
static int make_texts(struct store *s, struct step *steps, char **texts, size_t n,
                      struct outbox_err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        steps[i].result = NULL;
        ok = !(steps[i].args && steps[i].args->failed) &&
             (!has_text(s, &steps[i]) || (texts[i] = name_render(s, steps[i].sql)));
    }
    if (ok)
        return OUTBOX_OK;
    snprintf(s->failed_state, sizeof s->failed_state, "%s", NO_MEMORY);
    return s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

static int run(struct store *s, struct step *steps, size_t n, struct outbox_err *err)
{
    bool preparing[STEPS_MAX + 3] = {false};
    char *texts[STEPS_MAX + 3] = {NULL};
    int transport = OUTBOX_OK;
    int r = make_texts(s, steps, texts, n, err);
    bool sent = r == OUTBOX_OK && send_all(s, steps, texts, n, preparing);
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
    if (r < 0)
        return r;
    if (!sent)
        return lose(s, OUTBOX_E_BROKEN, err);
#ifdef OUTBOX_CRASH_POINTS
    if (settles(steps, n) && PQflush(s->db) == 0)
        failpoint("in_settle"); /* whether it is done is up to the server now */
#endif
    r = receive(s, steps, preparing, n, &transport, err);
    if (transport != OUTBOX_OK) {
        clear(steps, n);
        /* What the server said last is a better reason than that it went away. */
        if (r == OUTBOX_OK)
            return lose(s, transport, err);
        db_close(s);
        return r;
    }
    PQexitPipelineMode(s->db);
    if (r < 0)
        clear(steps, n);
    return r;
}

/* Behind a pooler: settings and steps are one transaction. */
static int run_pooled(struct store *s, const char *settings, struct step *steps, size_t n,
                      struct outbox_err *err)
{
    struct step all[STEPS_MAX + 3];
    size_t begins = strncmp(steps[0].sql, "BEGIN", 5) == 0, k = 0;
    all[k++] = begins ? steps[0] : (struct step){.slot = SLOT_BEGIN, .sql = BEGIN};
    all[k++] = (struct step){.slot = SLOT_NONE, .sql = settings};
    memcpy(all + k, steps + begins, (n - begins) * sizeof *steps);
    k += n - begins;
    if (!begins)
        all[k++] = (struct step){.slot = SLOT_COMMIT, .sql = "COMMIT"};
    int r = run(s, all, k, err);
    PQclear(all[1].result);
    if (!begins) {
        PQclear(all[0].result);
        PQclear(all[k - 1].result);
    }
    memcpy(steps, all + 2 - begins, n * sizeof *steps);
    if (begins)
        steps[0] = all[0];
    return r;
}

static int run_told(struct store *s, struct step *steps, size_t n, struct outbox_err *err)
{
    struct step told = {.slot = SLOT_NONE};
    int r = steps[0].alone && s->pooled ? OUTBOX_OK : session_settings(s, &told.sql, err);
    if (r < 0 || !told.sql)
        return r < 0 ? r : run(s, steps, n, err);
    if (s->pooled)
        return run_pooled(s, told.sql, steps, n, err);
    /* By themselves: what comes now may be undone. */
    r = run(s, &told, 1, err);
    PQclear(told.result);
    return r < 0 ? r : run(s, steps, n, err);
}

/* A pooler in between, after all, or somebody who tidies up: then without. */
static bool lost_statements(struct store *s)
{
    if (strcmp(s->failed_state, "26000") != 0 && strcmp(s->failed_state, "42P05") != 0)
        return false;
    if (!s->prepare_is_off)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "prepared statements do not last on this connection; going on without");
    s->prepare_is_off = true;
    return true;
}

int db_run(struct store *s, struct step *steps, size_t n, struct outbox_err *err)
{
    for (size_t i = 0; i < n; i++)
        steps[i].result = NULL;
    if (!s->db)
        return s->failure = outbox_fail(err, OUTBOX_E_RETRY, "the connection was lost");
    bool begins = PQtransactionStatus(s->db) == PQTRANS_IDLE;
    for (bool again = false;; again = true) {
        int r = run_told(s, steps, n, err);
        if (r == OUTBOX_OK)
            return r;
        session_forget(s);
        if (s->db && failure_ends_connection(s))
            db_close(s);
        db_rollback(s, r);
        if (!s->db || again || !lost_statements(s) || !begins)
            return r;
    }
}

int db_query(struct store *s, enum slot slot, const char *sql, struct args *args, PGresult **ret,
             struct outbox_err *err)
{
    struct step step = {.slot = slot, .sql = sql, .args = args};
    int r = db_run(s, &step, 1, err);
    *ret = step.result;
    return r;
}

int db_exec(struct store *s, const char *sql, struct outbox_err *err)
{
    PGresult *result;
    int r = db_query(s, SLOT_NONE, sql, NULL, &result, err);
    PQclear(result);
    return r;
}

int db_exec_alone(struct store *s, const char *sql, struct outbox_err *err)
{
    struct step step = {.slot = SLOT_NONE, .sql = sql, .alone = true};
    int r = db_run(s, &step, 1, err);
    PQclear(step.result);
    return r;
}

/* One try; a connection that does not even roll back is dropped, which does. */
int db_rollback(struct store *s, int r)
{
    struct step step = {.slot = SLOT_ROLLBACK, .sql = "ROLLBACK"};
    if (!s->db || PQtransactionStatus(s->db) == PQTRANS_IDLE)
        return r;
    int failure = s->failure;
    int64_t deadline_us = s->deadline_us;
    if (db_left_ms(s) < ROLLBACK_MS)
        s->deadline_us = s->host->monotonic_us(s->host) + ROLLBACK_MS * 1000;
    if (run(s, &step, 1, NULL) < 0)
        db_close(s);
    else
        PQclear(step.result);
    s->failure = failure;
    s->deadline_us = deadline_us;
    return r;
}

uint64_t db_changed(PGresult *result)
{
    return strtoull(PQcmdTuples(result), NULL, 10);
}
