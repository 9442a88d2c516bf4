/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle_bisect.c - a settle that the table refuses (a check, a trigger, a type of its owner's) is
 * done in halves, and halves of these, each a transaction: what is refused is found, and keeps
 * nothing else from being settled, least of all what was accepted. Savepoints would do as much in
 * one transaction, and would cost every settle; this costs only those that are refused.
 */
#include "claim/unreadable_search.h"
#include "settle/settle_sql.h"

#include <string.h>

/* Did the server refuse the values, or find the row damaged, rather than fail? Then it would do so
 * again. */
static bool is_refused(const struct store *s)
{
    static const char *const states[] = {"22", "23", "44", "P0", "54000", "XX001"};
    for (size_t i = 0; s->db && i < sizeof states / sizeof states[0]; i++)
        if (strncmp(s->failed_state, states[i], strlen(states[i])) == 0)
            return true;
    return false;
}

static size_t want(struct settling *t, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->wanted[i] = i >= from && i < to && !t->c->apart[t->items[i]->index];
    settling_retry(t);
    return n;
}

/* Should the call fail after all, this is not settled once more. */
static void note(struct settling *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->wanted[i])
            t->c->apart[t->items[i]->index] = t->stale[i] ? APART_STALE : APART_DONE;
}

/* What can be told of one message: its outcome without the reason, or at least that it waits, so
 * that it is not sent again and again. */
static int settle_refused(struct settling *t, size_t i, settling_fn *by, struct outbox_err *err)
{
    static const enum how ways[] = {HOW_BARE, HOW_PUT_OFF};
    const struct outbox_message *m = settling_message(t, i);
    struct outbox_str id = m->id;
    struct outbox_err why = {.size = sizeof why};
    int r = t->s->failure;
    for (size_t way = 0; r < 0 && is_refused(t->s) && way < 2; way++) {
        t->how = ways[way];
        want(t, i, i + 1);
        r = by(t, &why);
    }
    if (r < 0 && !is_refused(t->s)) {
        outbox_fail(err, r, "%s", why.text);
    } else {
        outbox_logf(t->s->host, OUTBOX_LOG_ERROR,
                    "message %.*s: the table refuses its outcome%s: %s", (int)id.n, id.p,
                    r < 0                ? ""
                    : t->how == HOW_BARE ? ", and takes it without the reason"
                                         : "; it will be sent again",
                    err->text);
        t->stale[i] |= r < 0 || t->how == HOW_PUT_OFF;
        if (r < 0 && avoid_add(t->s, m->seq, why.text) && m->defect.p)
            r = OUTBOX_OK; /* it was not sent, and will not be */
    }
    if (r == 0)
        note(t);
    t->how = HOW_TOLD;
    return r;
}

/* A part of which nothing could be settled fails. */
static int settle_part(struct settling *t, size_t from, size_t to, settling_fn *by,
                       struct outbox_err *err)
{
    size_t middle = from + (to - from) / 2;
    if (want(t, from, to) == 0)
        return OUTBOX_OK;
    int r = by(t, err);
    if (r == 0)
        note(t);
    if (r == 0 || !is_refused(t->s))
        return r;
    if (to - from == 1)
        return settle_refused(t, from, by, err);
    int first = settle_part(t, from, middle, by, err);
    if (first < 0 && !is_refused(t->s))
        return first;
    int second = settle_part(t, middle, to, by, err);
    return second < 0 && (!is_refused(t->s) || first < 0) ? second : OUTBOX_OK;
}

int settle_apart(struct settling *t, settling_fn *by, int r, struct outbox_err *err)
{
    return is_refused(t->s) ? settle_part(t, 0, t->n, by, err) : r;
}
