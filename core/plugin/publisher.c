/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/publisher.h"

#include "plugin/descriptor.h"
#include "plugin/guard.h"
#include "plugin/plain_form.h"

#include <outbox/helpers.h>

#include <stdio.h>

#define REASONS_KEEP 4096

/* Whoever submitted messages has to know that they are given back. */
static int still_lent(const struct publisher *p, struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_BROKEN, "the %s broke while it had messages", p->label);
}

static int reopen(struct publisher *p, struct outbox_err *err)
{
    if (p->instance.self && !p->broken)
        return OUTBOX_OK;
    if (p->in_flight.n > 0)
        return still_lent(p, err);
    publisher_close_instance(p);
    return instance_open(&p->instance, &p->setup, err);
}

void publisher_init(struct publisher *p, const struct instance_setup *setup, const char *name)
{
    *p = (struct publisher){.setup = *setup, .reasons = ARENA_INIT(REASONS_KEEP)};
    snprintf(p->label, sizeof p->label, "publisher %s", name);
    p->setup.label = p->label;
}

int publisher_open(struct publisher *p, const struct instance_setup *setup, const char *name,
                   struct outbox_err *err)
{
    publisher_init(p, setup, name);
    return reopen(p, err);
}

void publisher_close(struct publisher *p)
{
    publisher_close_instance(p);
    arena_free(&p->reasons);
}

void publisher_close_instance(struct publisher *p)
{
    instance_close(&p->instance);
    in_flight_clear(&p->in_flight);
    p->broken = false;
}

static int finish(struct publisher *p, int r)
{
    p->broken |= r == OUTBOX_E_BROKEN;
    return r;
}

int publisher_check(struct publisher *p, const struct outbox_call *call, struct outbox_err *err)
{
    int r = reopen(p, err);
    return r < 0 ? r : finish(p, GUARD_CALL(&p->instance, publisher, check, call, err, call));
}

/* Outcomes that this host does not know are as unset, and the call has failed. */
static int judge_outcomes(const struct publisher *p, const char *operation,
                          struct outbox_outcome *const *outcomes, size_t n, int r,
                          struct outbox_err *err)
{
    uint32_t unknown = OUTBOX_UNSET;
    for (size_t i = 0; i < n; i++) {
        if (outcomes[i]->verdict <= OUTBOX_UNAVAILABLE)
            continue;
        unknown = outcomes[i]->verdict;
        outcomes[i]->verdict = OUTBOX_UNSET;
    }
    if (unknown == OUTBOX_UNSET)
        return r;
    int defect =
        guard_defect(&p->instance, operation, err, "it set the unknown outcome %u", unknown);
    return r == OUTBOX_E_BROKEN ? r : defect;
}

int publisher_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                      const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                      struct outbox_err *err)
{
    for (size_t i = 0; i < n; i++)
        *outcomes[i] = (struct outbox_outcome){.size = sizeof *outcomes[i]};
    int r = reopen(p, err);
    if (r < 0)
        return r;
    if (publisher_is_async(p))
        return plain_form_publish(p, msgs, n, call, outcomes, err);
    r = GUARD_CALL(&p->instance, publisher, publish, call, err, msgs, n, call, outcomes);
    return finish(p, judge_outcomes(p, "publish", outcomes, n, r, err));
}

/* ---- the asynchronous form ---- */

bool publisher_is_async(const struct publisher *p)
{
    return p->setup.plugin->ops.publisher.submit != NULL;
}

/* A plugin that breaks the contract so may do anything next: it is closed. */
static int is_broken(struct publisher *p, const char *operation, struct outbox_err *err,
                     const char *how)
{
    guard_defect(&p->instance, operation, err, "%s", how);
    if (err)
        err->code = OUTBOX_E_BROKEN;
    return finish(p, OUTBOX_E_BROKEN);
}

int publisher_submit(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     uint64_t *ret_n, struct outbox_err *err)
{
    *ret_n = 0;
    int r = reopen(p, err);
    if (r == OUTBOX_OK && (r = in_flight_reserve(&p->in_flight, n)) < 0)
        outbox_fail(err, r, "out of memory for what is in flight");
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        *outcomes[i] = (struct outbox_outcome){.size = sizeof *outcomes[i]};
    r = GUARD_CALL(&p->instance, publisher, submit, call, err, msgs, n, call, outcomes, ret_n);
    bool too_many = *ret_n > n;
    *ret_n = too_many ? n : *ret_n;
    for (size_t i = 0; i < *ret_n; i++)
        in_flight_add(&p->in_flight, outcomes[i]);
    return too_many ? is_broken(p, "submit", err, "it took more messages than it was given")
                    : finish(p, r);
}

int publisher_collect(struct publisher *p, const struct outbox_call *call,
                      struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err)
{
    *ret = NULL;
    *ret_n = 0;
    if (p->broken)
        return still_lent(p, err);
    int r = GUARD_CALL(&p->instance, publisher, collect, call, err, call, ret, ret_n);
    for (uint64_t i = 0; i < *ret_n; i++)
        if (!in_flight_remove(&p->in_flight, *ret ? (*ret)[i] : NULL)) {
            *ret_n = i;
            judge_outcomes(p, "collect", *ret, i, r, err);
            return is_broken(p, "collect", err,
                             "it handed out an outcome that it did not have, or twice");
        }
    return finish(p, judge_outcomes(p, "collect", *ret, *ret_n, r, err));
}

int publisher_holds_on(struct publisher *p, struct outbox_err *err)
{
    return is_broken(p, "collect", err, "it keeps messages past their time");
}

int publisher_ready_fd(const struct publisher *p)
{
    int32_t (*ready_fd)(void *) = p->setup.plugin->ops.publisher.ready_fd;
    if (!ready_fd || !p->instance.self || p->broken)
        return -1;
    guard_enter(&p->instance, "ready_fd", GUARD_QUICK_MS);
    int fd = ready_fd(p->instance.self);
    guard_leave(&p->instance, "ready_fd");
    return fd;
}

/* ---- while nothing is published ---- */

int publisher_keepalive(struct publisher *p, struct outbox_keepalive *ret, struct outbox_err *err)
{
    if (!p->instance.self || p->broken || !(p->instance.capabilities & OUTBOX_PUB_KEEPALIVE))
        return OUTBOX_E_NOTSUP;
    *ret = (struct outbox_keepalive){.size = sizeof *ret};
    int r = GUARD_CALL(&p->instance, publisher, keepalive, NULL, err, ret);
    if (r == OUTBOX_OK && ret->verdict != OUTBOX_UNSET && ret->verdict != OUTBOX_ACCEPTED &&
        ret->verdict != OUTBOX_UNAVAILABLE)
        r = guard_defect(&p->instance, "keepalive", err, "it set the unknown verdict %u",
                         ret->verdict);
    return finish(p, r);
}
