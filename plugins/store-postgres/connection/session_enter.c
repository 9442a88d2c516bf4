/* SPDX-License-Identifier: Apache-2.0 */
/* session_enter.c - the connection: made when needed, dropped when it is of no more use. */
#include "postgres.h"

#include <poll.h>
#include <string.h>

static void set_deadline(struct store *s, const struct outbox_call *call)
{
    s->timeout_ms = call->timeout_ms;
    s->deadline_us = s->host->monotonic_us(s->host) + (int64_t)call->timeout_ms * 1000;
    s->cancel_fd = call->cancel_fd;
    s->failed_state[0] = '\0';
    arena_reset(&s->scratch);
}

/* All that is said between calls, too; only a farewell matters. */
static void hear(void *arg, const PGresult *notice)
{
    struct store *s = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    s->is_dismissed |=
        severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* A server that ended the connection has said so, and hangs up behind it. */
static void drop_dead(struct store *s)
{
    struct pollfd fd = {.fd = s->db ? PQsocket(s->db) : -1, .events = POLLIN};
    while (s->db && poll(&fd, 1, 0) > 0)
        if (!PQconsumeInput(s->db) || PQisBusy(s->db) || PQstatus(s->db) != CONNECTION_OK ||
            s->is_dismissed)
            db_close(s);
}

void db_resume(struct store *s, const struct outbox_call *call)
{
    set_deadline(s, call);
    drop_dead(s);
}

static int enter(struct store *s, const struct outbox_call *call, bool check,
                 struct outbox_err *err)
{
    db_resume(s, call);
    if (s->db)
        return OUTBOX_OK;
    s->is_dismissed = false;
    s->db = db_connect(s, s->conninfo, s->bounded, "outboxd", err);
    if (!s->db)
        return s->failure;
    PQsetNoticeReceiver(s->db, hear, s);
    int r = session_begin(s, err);
    if (r == 0 && check)
        r = schema_check(s, err);
    if (r < 0)
        db_close(s);
    return r;
}

int db_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    if (s->held && s->held->open)
        return s->failure = outbox_fail(err, OUTBOX_E_CONFIG,
                                        "a batch is held: until it is released this instance does "
                                        "nothing else");
    return enter(s, call, true, err);
}

int db_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, true, err);
}

int db_enter_raw(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, false, err);
}

void db_close(struct store *s)
{
    PQfinish(s->db);
    s->db = NULL;
    memset(s->prepared, 0, sizeof s->prepared);
    s->listens = s->gate_is_shut = false;
    if (s->held)
        s->held->open = false;
}
