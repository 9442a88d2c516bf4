/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/plain_form.h"

#include "base/clock.h"
#include "plugin/store.h"

#include <outbox/helpers.h>

#include <poll.h>

/* How often a queue that is full is tried, and a plugin that does not wait is asked, ms. */
#define AGAIN_MS 10

struct plain_form {
    struct publisher *publisher;
    int cancel_fd; /* -1: the host does not cancel, or has done so */
    bool cancelled;
    int64_t deadline_us;
    int result; /* the first that was negative; its text is in *err */
    struct outbox_err *err;
};

static int64_t left_ms(const struct plain_form *form, int64_t more_ms)
{
    int64_t ms = (form->deadline_us - clock_monotonic_us() + 999) / 1000 + more_ms;
    return ms > 0 ? ms : 0;
}

/* Nothing is begun any more, and what is begun gets the grace. True: that is so from now on. */
static bool was_cancelled(struct plain_form *form, const struct outbox_call *call)
{
    struct pollfd cancel = {.fd = form->cancel_fd, .events = POLLIN};
    if (form->cancel_fd < 0 || poll(&cancel, 1, 0) == 0)
        return form->cancelled;
    form->cancel_fd = -1;
    form->cancelled = true;
    if (left_ms(form, 0) > call->grace_ms)
        form->deadline_us = clock_monotonic_us() + (int64_t)call->grace_ms * 1000;
    return true;
}

static void remember(struct plain_form *form, int r, const struct outbox_err *why)
{
    if (r >= 0 || form->result < 0 || r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED)
        return;
    form->result = outbox_fail(form->err, r, "%s", why->text);
}

/* A reason is gone with the next call. */
static void keep_reasons(struct publisher *p, struct outbox_outcome *const *outcomes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct outbox_str *reason = &outcomes[i]->reason;
        if (arena_str(&p->reasons, reason->p, (size_t)reason->n, reason) < 0)
            *reason = outbox_cstr("out of memory for the reason");
    }
}

/* Waits for outcomes, at most ms. A plugin that returns early without any is not asked at once. */
static void collect(struct plain_form *form, int64_t ms)
{
    struct pollfd cancel = {.fd = form->cancel_fd, .events = POLLIN};
    struct outbox_err why = {.size = sizeof why};
    struct outbox_call call = store_call(ms, form->cancel_fd);
    struct outbox_outcome *const *outcomes = NULL;
    uint64_t n = 0;
    int64_t began_us = clock_monotonic_us();
    if (form->publisher->in_flight.n > 0)
        remember(form, publisher_collect(form->publisher, &call, &outcomes, &n, &why), &why);
    keep_reasons(form->publisher, outcomes, n);
    if (n == 0 && clock_monotonic_us() - began_us < 1000)
        poll(&cancel, 1, AGAIN_MS);
}

/* The messages are given back by close alone. */
static void take_back(struct plain_form *form)
{
    struct publisher *p = form->publisher;
    if (!form->cancelled && !p->broken)
        form->result = publisher_holds_on(p, form->err);
    publisher_close_instance(p);
}

int plain_form_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                       const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                       struct outbox_err *err)
{
    struct plain_form form = {
        .publisher = p,
        .cancel_fd = call->cancel_fd,
        .deadline_us = clock_monotonic_us() + (int64_t)call->timeout_ms * 1000,
        .err = err,
    };
    struct outbox_err why = {.size = sizeof why};
    bool ends = false;
    uint64_t done = 0;
    arena_reset(&p->reasons);
    while (!p->broken && left_ms(&form, PUBLISHER_LATE_MS) > 0) {
        ends = was_cancelled(&form, call) || form.result < 0 || left_ms(&form, 0) == 0;
        if (done < n && !ends) {
            struct outbox_call rest = store_call(left_ms(&form, 0), form.cancel_fd);
            uint64_t took = 0;
            rest.grace_ms = call->grace_ms;
            remember(
                &form,
                publisher_submit(p, msgs + done, n - done, &rest, outcomes + done, &took, &why),
                &why);
            done += took;
        }
        if (p->in_flight.n == 0 && (done == n || ends || form.result < 0))
            break;
        int64_t wait_ms = left_ms(&form, PUBLISHER_LATE_MS);
        collect(&form, done < n && wait_ms > AGAIN_MS ? AGAIN_MS : wait_ms);
    }
    if (p->in_flight.n > 0)
        take_back(&form);
    if (form.result == OUTBOX_OK && form.cancelled)
        form.result = outbox_fail(err, OUTBOX_E_CANCELLED, "the host cancelled the call");
    else if (form.result == OUTBOX_OK && done < n)
        form.result = outbox_fail(err, OUTBOX_E_TIMEOUT, "its queue was full for too long");
    return form.result;
}
