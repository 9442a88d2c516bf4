/* SPDX-License-Identifier: Apache-2.0 */
/* publisher_health.c - how a publisher is: asked, and told to the other workers and to the
 * operator. */
#include "relay/context.h"

#include <outbox/helpers.h>

#include <stdio.h>

static const struct publisher_config *configured(const struct worker *w, size_t publisher)
{
    return &w->relay->config->publishers[publisher];
}

int publisher_open(struct worker *w, size_t publisher, struct outbox_err *err)
{
    const struct publisher_config *p = configured(w, publisher);
    struct instance *instance = &w->publishers[publisher];
    char label[80];
    if (instance->self)
        return OUTBOX_OK;
    snprintf(label, sizeof label, "publisher %s", p->name);
    return instance_open(instance, p->plugin, p->options, label, w->relay->log, err);
}

int publisher_check(struct worker *w, size_t publisher, int64_t timeout_ms, struct outbox_err *err)
{
    struct instance *instance = &w->publishers[publisher];
    struct outbox_call call = store_call(timeout_ms, w->relay->stop_fd);
    err->text[0] = '\0';
    int r = publisher_open(w, publisher, err);
    if (r == 0)
        r = instance->plugin->ops.publisher.check(instance->self, &call, err);
    if (r < 0 && err->text[0] == '\0')
        outbox_fail(err, r, "it is not in order, and gave no reason");
    if (r == OUTBOX_E_BROKEN)
        instance_close(instance);
    return r < 0 ? r : OUTBOX_OK;
}

static void tell_back(struct worker *w, size_t publisher)
{
    log_event(w->relay->log, OUTBOX_LOG_INFO, "publisher is back", "publisher",
              configured(w, publisher)->name, NULL);
}

void publisher_passed(struct worker *w, size_t publisher)
{
    if (breaker_passed(&w->relay->publishers[publisher].breaker))
        tell_back(w, publisher);
}

void publisher_asked(struct worker *w, size_t publisher)
{
    if (breaker_check_ok(&w->relay->publishers[publisher].breaker))
        tell_back(w, publisher);
}

int64_t publisher_failed(struct worker *w, size_t publisher, uint64_t culprit, int64_t after_ms,
                         struct outbox_str reason)
{
    struct breaker *breaker = &w->relay->publishers[publisher].breaker;
    int64_t pause_ms = 0;
    if (!reason.p || reason.n == 0)
        reason = outbox_cstr("it gave no reason");
    if (breaker_failed(breaker, culprit, after_ms, reason.p, (size_t)reason.n, &pause_ms))
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "publisher is unavailable; its messages wait, uncharged", "publisher",
                  configured(w, publisher)->name, "reason",
                  suspension_snapshot(&breaker->pause).reason, NULL);
    return pause_ms;
}
