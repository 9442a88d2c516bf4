/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - one call: as few statements as there can be, each with its own transaction. When a
 * message is at fault, the statements get smaller until it stands alone; others do not suffer for
 * it.
 */
#include "inbox.h"

/* So often a statement is tried that loses against another session's. */
#define TRIES 3
/* So much longer than this call the server works on a statement, ms. */
#define SERVER_MS 500

struct share {
    struct instance *x;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint64_t n;
    uint64_t at;     /* the next one */
    uint64_t behind; /* the one after those that are picked */
    uint64_t size;   /* how many to pick */
    uint64_t *picked, n_picked;
    uint64_t *failed, n_failed; /* those before whose key nothing may follow */
    const struct outbox_message **rows;
    struct rows bytes;
    bool looked;
    int tries;
};

/* ---- which messages ---- */

static bool is_held_up(const struct share *s, const struct outbox_message *msg)
{
    for (uint64_t i = 0; i < s->n_failed && msg->key.n > 0; i++)
        if (outbox_str_eq(s->msgs[s->failed[i]]->key, msg->key))
            return true;
    return false;
}

static void fail_message(struct share *s, uint64_t i, uint32_t verdict, const char *why)
{
    outbox_reason(&s->x->reasons, s->outcomes[i], verdict, "%s", why);
    s->failed[s->n_failed++] = i;
}

static void pick(struct share *s)
{
    uint64_t bytes = 0;
    s->n_picked = 0;
    for (s->behind = s->at; s->behind < s->n && s->n_picked < s->size; s->behind++) {
        const struct outbox_message *msg = s->msgs[s->behind];
        uint64_t size = rows_size(msg);
        /* After a failure the same are looked at again. */
        if (s->outcomes[s->behind]->verdict != OUTBOX_UNSET || is_held_up(s, msg))
            continue;
        if (size > ROWS_BYTES_MAX) {
            fail_message(s, s->behind, OUTBOX_REJECTED,
                         "PostgreSQL has no rows of about 1 GiB, and this message needs one");
            continue;
        }
        if (s->n_picked > 0 && bytes + size > ROWS_BYTES)
            break;
        bytes += size;
        s->rows[s->n_picked] = msg;
        s->picked[s->n_picked++] = s->behind;
    }
}

/* ---- one statement ---- */

/* Behind a pooler the session is everybody's: so the settings are the transaction's. */
static const char settings_sql[] =
    "SELECT pg_catalog.set_config('statement_timeout', $1, true),"
    " pg_catalog.set_config('synchronous_commit', pg_catalog.regexp_replace("
    "pg_catalog.current_setting('synchronous_commit'), '^off$', 'on'), true)";
static const char notify_sql[] = "SELECT pg_catalog.pg_notify($1, '')";

static int insert(struct share *s, struct outbox_err *err)
{
    struct instance *x = s->x;
    char timeout[24];
    const char *timeouts[1] = {timeout}, *channel[1] = {x->settings.notify};
    const char *source = x->settings.source;
    const struct step all[STEPS_MAX] = {
        {notify_sql, 1, NULL, channel, NULL},
        {settings_sql, 1, NULL, timeouts, NULL},
        {x->insert, source ? ROWS_COLUMNS : ROWS_COLUMNS - 1, rows_types, s->bytes.values,
         s->bytes.lengths},
    };
    bool notifies = x->settings.notify != NULL;
    PGresult *result = NULL;
    int r;
    snprintf(timeout, sizeof timeout, "%lld",
             (long long)outbox_deadline_left_ms(&x->d) + SERVER_MS);
    r = session_run(x, all + !notifies, STEPS_MAX - !notifies, &result, err);
    if (r == OUTBOX_OK)
        x->host->count(x->host, "postgres_already_there_total",
                       (int64_t)s->n_picked - strtoll(PQcmdTuples(result), NULL, 10));
    PQclear(result);
    return r;
}

/* What has become of the picked ones: goes on behind them, or makes s->size smaller. The result is
 * not OUTBOX_OK if the fault is not one message's. */
static int judge(struct share *s, int r, struct outbox_err *err)
{
    struct instance *x = s->x;
    enum failure_kind kind = x->failure.kind;
    if (r == OUTBOX_OK) {
        for (uint64_t i = 0; i < s->n_picked; i++)
            s->outcomes[s->picked[i]]->verdict = OUTBOX_ACCEPTED;
        s->at = s->behind;
        s->tries = 0;
        x->careful -= x->careful < s->n_picked ? x->careful : s->n_picked;
        s->size = x->careful > 0 ? 1 : s->size > s->n / 2 ? s->n : s->size * 2;
        return r;
    }
    if (kind == FAILURE_AGAIN)
        return ++s->tries < TRIES ? OUTBOX_OK : r;
    if ((kind == FAILURE_TABLE || kind == FAILURE_POLICY) && !s->looked) {
        s->looked = true; /* it is as it has to be, or that is the reason */
        return table_look(x, err);
    }
    if (kind < FAILURE_POLICY || (kind == FAILURE_POLICY && !x->has_policies))
        return r;
    if (s->n_picked > 1) {
        s->size = s->n_picked / 2;
        return OUTBOX_OK;
    }
    fail_message(s, s->picked[0], kind == FAILURE_REJECT ? OUTBOX_REJECTED : OUTBOX_RETRY,
                 x->failure.words);
    s->at = s->behind;
    return OUTBOX_OK;
}

/* Those on their way when it ended. One that was alone is told: the host finds out whether it is
 * why. */
static void suspect(struct share *s)
{
    struct instance *x = s->x;
    if (s->n_picked == 1)
        outbox_reason(&x->reasons, s->outcomes[s->picked[0]], OUTBOX_UNAVAILABLE, "%s",
                      x->failure.text);
    else
        x->careful = s->n_picked;
}

static int publish_share(struct share *s, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    while (r == OUTBOX_OK && s->at < s->n) {
        if (outbox_deadline_cancelled(&s->x->d))
            return outbox_fail(err, OUTBOX_E_CANCELLED, "cancelled");
        pick(s);
        if (s->n_picked == 0) {
            s->at = s->behind;
            continue;
        }
        if (!rows_fill(&s->bytes, s->rows, (size_t)s->n_picked, s->x->settings.source))
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        r = judge(s, insert(s, err), err);
    }
    if (r < 0 && r != OUTBOX_E_CANCELLED)
        suspect(s);
    return r;
}

/* ---- the call ---- */

int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
            const struct outbox_call *call, struct outbox_outcome *const *outcomes,
            struct outbox_err *err)
{
    struct instance *x = instance;
    struct share s;
    int r;
    outbox_reasons_clear(&x->reasons);
    outbox_deadline_begin(&x->d, x->host, call);
    r = session_enter(x, err);
    if (r == OUTBOX_OK) {
        outbox_deadline_shorten(&x->d, x->settings.publish_ms);
        if (!x->insert)
            r = table_look(x, err);
    }
    if (r < 0)
        return r;
    memset(&s, 0, sizeof s);
    s.x = x;
    s.msgs = msgs;
    s.outcomes = outcomes;
    s.n = n;
    s.size = x->careful > 0 ? 1 : n;
    s.picked = calloc((size_t)n, sizeof *s.picked);
    s.failed = calloc((size_t)n, sizeof *s.failed);
    s.rows = calloc((size_t)n, sizeof *s.rows);
    r = s.picked && s.failed && s.rows ? publish_share(&s, err)
                                       : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    rows_free(&s.bytes);
    free(s.picked);
    free(s.failed);
    free(s.rows);
    return r;
}
