/* SPDX-License-Identifier: Apache-2.0 */
/* checked_publisher.c - check, publish and keepalive, with eyes on them. */
#include "plugin/checked_call.h"

#include <string.h>

/* So many more outcomes than messages are there for those who write too far. */
#define BEYOND 8

const struct outbox_publisher_ops *checked_publisher_inner(const struct checked *c)
{
    return &c->plugin->inner->ops.publisher;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    int r = OUTBOX_E_RETRY;
    checked_call_begin(&here, c, "check", call, err);
    if (checked_call_ready(&here))
        r = checked_publisher_inner(c)->check(c->inner, here.call, here.err);
    return checked_call_end(&here, r);
}

/* ---- outcomes ---- */

void checked_publisher_outcome(struct checked_call *here, const struct outbox_outcome *lent,
                               struct outbox_outcome *host)
{
    *host = *lent;
    if (host->verdict > OUTBOX_UNAVAILABLE) {
        checked_call_report(here, "outcome-number", "there is no outcome %u", host->verdict);
        here->useless = "outcome-number";
        host->verdict = OUTBOX_UNSET;
    }
    if (!checked_reason_take(&here->of->reasons, &host->reason))
        checked_call_report(here, "reason-memory", "a reason cannot be read");
}

void checked_publisher_reasons(struct checked_call *here)
{
    checked_reason_clobber();
    if (!checked_reason_same(&here->of->reasons))
        checked_call_report(here, "reason-memory", "a reason was on its stack, or not its own");
}

/* What publish borrows. */
struct lent {
    const struct outbox_message **msgs;
    struct outbox_outcome **outcomes; /* n, then BEYOND times `beyond` */
    struct outbox_outcome *beyond;
};

static void lend(struct checked_pages *pages, const struct outbox_message *const *msgs, uint64_t n,
                 struct outbox_outcome *const *outcomes, struct lent *ret)
{
    const struct outbox_outcome none = {.size = sizeof none};
    ret->msgs = checked_pages_add(pages, NULL, n * sizeof *ret->msgs, false);
    ret->outcomes = checked_pages_add(pages, NULL, (n + BEYOND) * sizeof *ret->outcomes, false);
    ret->beyond = checked_pages_add(pages, &none, sizeof none, true);
    for (uint64_t i = 0; i < n && !pages->failed; i++) {
        ret->msgs[i] = checked_copy_message(pages, msgs[i]);
        ret->outcomes[i] = checked_pages_add(pages, outcomes[i], sizeof none, true);
    }
    for (uint64_t i = n; i < n + BEYOND && !pages->failed; i++)
        ret->outcomes[i] = ret->beyond;
}

static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    const struct outbox_outcome none = {.size = sizeof none};
    struct checked *c = instance;
    struct checked_call here;
    struct lent lent;
    int r = OUTBOX_E_RETRY;
    checked_call_begin(&here, c, "publish", call, err);
    lend(&here.pages, msgs, n, outcomes, &lent);
    if (checked_call_ready(&here)) {
        r = checked_publisher_inner(c)->publish(c->inner, lent.msgs, n, here.call, lent.outcomes,
                                                here.err);
        for (uint64_t i = 0; i < n; i++)
            checked_publisher_outcome(&here, lent.outcomes[i], outcomes[i]);
        checked_publisher_reasons(&here);
        if (memcmp(lent.beyond, &none, sizeof none) != 0)
            checked_call_report(&here, "writes-beyond", "it set outcomes behind the last message");
    }
    return checked_call_end(&here, r);
}

static int keepalive(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    int r = OUTBOX_E_RETRY;
    checked_call_begin(&here, c, "keepalive", NULL, err);
    struct outbox_keepalive *lent = checked_pages_add(&here.pages, ret, sizeof *ret, true);
    if (checked_call_ready(&here)) {
        r = checked_publisher_inner(c)->keepalive(c->inner, lent, here.err);
        *ret = *lent;
        if (r == OUTBOX_OK && ret->verdict != OUTBOX_ACCEPTED &&
            ret->verdict != OUTBOX_UNAVAILABLE) {
            checked_call_report(&here, "outcome-number",
                                "its verdict %u is neither healthy nor "
                                "unavailable",
                                ret->verdict);
            here.useless = "outcome-number";
        }
        if (!checked_reason_take(&c->reasons, &ret->reason))
            checked_call_report(&here, "reason-memory", "its reason cannot be read");
        checked_publisher_reasons(&here);
    }
    return checked_call_end(&here, r);
}

void checked_publisher_set_ops(struct outbox_publisher_ops *ops)
{
    ops->open = checked_life_open;
    ops->close = checked_life_close;
    ops->check = check;
    if (ops->capabilities)
        ops->capabilities = checked_life_capabilities;
    if (ops->publish)
        ops->publish = publish;
    if (ops->keepalive)
        ops->keepalive = keepalive;
    if (ops->submit)
        checked_collect_set_ops(ops);
}
