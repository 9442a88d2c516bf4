/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/publisher.h"

#include "plugin/guard.h"

#include <stdio.h>

static int reopen(struct publisher *p, struct outbox_err *err)
{
    if (p->instance.self && !p->broken)
        return OUTBOX_OK;
    publisher_close(p);
    return instance_open(&p->instance, &p->setup, err);
}

int publisher_open(struct publisher *p, const struct instance_setup *setup, const char *name,
                   struct outbox_err *err)
{
    *p = (struct publisher){.setup = *setup};
    snprintf(p->label, sizeof p->label, "publisher %s", name);
    p->setup.label = p->label;
    return reopen(p, err);
}

void publisher_close(struct publisher *p)
{
    instance_close(&p->instance);
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
    r = GUARD_CALL(&p->instance, publisher, publish, call, err, msgs, n, call, outcomes);
    return finish(p, judge_outcomes(p, "publish", outcomes, n, r, err));
}

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
