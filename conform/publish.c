/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/publish.h"

#include "base/array.h"
#include "conform/kit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static void *zeroed(uint64_t n, size_t size)
{
    void *p = calloc((size_t)n, size);
    if (!p)
        abort();
    return p;
}

struct outbox_str batch_copy(struct batch *b, const char *text, uint64_t n)
{
    if (!text)
        return (struct outbox_str){NULL, 0};
    void **added = array_add(&b->copies, &b->n_copies, sizeof *b->copies);
    if (!added)
        abort();
    *added = zeroed(n + 1, 1);
    memcpy(*added, text, (size_t)n);
    return (struct outbox_str){*added, n};
}

struct batch *batch_new(uint64_t n)
{
    struct batch *b = zeroed(1, sizeof *b);
    b->n = n;
    b->msgs = zeroed(n + 1, sizeof *b->msgs);
    b->msg_ptrs = zeroed(n + 1, sizeof *b->msg_ptrs);
    b->outcomes = zeroed(n + 1, sizeof *b->outcomes);
    b->outcome_ptrs = zeroed(n + 1, sizeof *b->outcome_ptrs);
    for (uint64_t i = 0; i <= n; i++) {
        b->msg_ptrs[i] = &b->msgs[i];
        b->outcome_ptrs[i] = &b->outcomes[i];
        if (i < n)
            b->msgs[i] = (struct outbox_message){.size = sizeof b->msgs[i],
                                                 .seq = (int64_t)i + 1,
                                                 .created_us = 1,
                                                 .topic = batch_copy(b, "topic", 5),
                                                 .key = batch_copy(b, "", 0),
                                                 .payload = batch_copy(b, "x", 1)};
    }
    return b;
}

void batch_set_id(struct batch *b, uint64_t i, uint32_t series)
{
    char id[40];
    snprintf(id, sizeof id, "%08x-%04x-4%03x-8000-%012llx", kit_run_number(), series >> 16 & 0xffff,
             series & 0xfff, (unsigned long long)((uint64_t)(series >> 12 & 0xf) << 44 | i));
    b->msgs[i].id = batch_copy(b, id, strlen(id));
    b->msgs[i].row_id = b->msgs[i].id;
}

void batch_free(struct batch *b)
{
    if (!b || b->n_kept > 0)
        return;
    for (size_t i = 0; i < b->n_copies; i++)
        free(b->copies[i]);
    free(b->copies);
    free(b->msgs);
    free(b->msg_ptrs);
    free(b->outcomes);
    free(b->outcome_ptrs);
    free(b);
}

/* ---- the asynchronous form ---- */

static bool is_cancelled(const struct outbox_call *call)
{
    struct pollfd fd = {call->cancel_fd, POLLIN, 0};
    return call->cancel_fd >= 0 && poll(&fd, 1, 0) > 0;
}

/* Hands out what there is, waiting at most `ms`; how many of them are of this batch. */
static uint64_t collect(struct batch *b, const struct instance *instance,
                        const struct outbox_call *call, int64_t ms, int *result)
{
    struct outbox_call part = *call;
    struct outbox_outcome *const *done = NULL;
    uint64_t n = 0;
    part.timeout_ms = (uint32_t)(ms > 0 ? ms : 0);
    int r = instance->plugin->ops.publisher.collect(instance->self, &part, &done, &n, &b->err);
    if (r < 0 && r != OUTBOX_E_TIMEOUT) {
        *result = r;
        sleep_ms(1);
    }
    uint64_t own = 0;
    for (uint64_t i = 0; i < n; i++)
        own += done[i] >= b->outcomes && done[i] < b->outcomes + b->n;
    return own;
}

/* Submits the first n, and waits for the outcomes of what was taken. */
static int submit_and_collect(struct batch *b, uint64_t n, const struct instance *instance,
                              const struct outbox_call *call)
{
    const struct outbox_publisher_ops *ops = &instance->plugin->ops.publisher;
    int64_t end = now_ms() + call->timeout_ms;
    uint64_t taken = 0, done = 0;
    int r = OUTBOX_OK;
    while (taken < n && r == OUTBOX_OK) {
        uint64_t got = 0;
        struct outbox_call part = *call;
        part.timeout_ms = (uint32_t)(end > now_ms() ? end - now_ms() : 0);
        r = ops->submit(instance->self, b->msg_ptrs + taken, n - taken, &part,
                        b->outcome_ptrs + taken, &got, &b->err);
        taken += got;
        if (now_ms() >= end || is_cancelled(call))
            break;
        if (taken < n && r == OUTBOX_OK)
            done += collect(b, instance, call, got == 0 ? end - now_ms() : 0, &r);
    }
    while (done < taken && r != OUTBOX_E_BROKEN && now_ms() <= end && !is_cancelled(call))
        done += collect(b, instance, call, end - now_ms(), &r);
    b->n_kept = done < taken ? taken - done : 0;
    return r == OUTBOX_OK && done < n && is_cancelled(call) ? OUTBOX_E_CANCELLED : r;
}

/* ---- both ---- */

static uint64_t count_unset(const struct batch *b)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < b->n; i++)
        n += b->outcomes[i].verdict == OUTBOX_UNSET;
    return n;
}

/* Puts the messages without an outcome first; returns how many they are. */
static uint64_t list_unset(struct batch *b)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < b->n; i++)
        if (b->outcomes[i].verdict == OUTBOX_UNSET) {
            b->outcomes[i] = (struct outbox_outcome){.size = sizeof b->outcomes[i]};
            b->msg_ptrs[n] = &b->msgs[i];
            b->outcome_ptrs[n++] = &b->outcomes[i];
        }
    return n;
}

int batch_publish_unset(struct batch *b, const struct instance *instance,
                        const struct outbox_call *call)
{
    const struct outbox_publisher_ops *ops = &instance->plugin->ops.publisher;
    uint64_t n = list_unset(b);
    b->err = (struct outbox_err){.size = sizeof b->err};
    if (ops->submit)
        return submit_and_collect(b, n, instance, call);
    return ops->publish(instance->self, b->msg_ptrs, n, call, b->outcome_ptrs, &b->err);
}

int batch_publish(struct batch *b, const struct instance *instance, const struct outbox_call *call)
{
    for (uint64_t i = 0; i < b->n; i++)
        b->outcomes[i].verdict = OUTBOX_UNSET;
    return batch_publish_unset(b, instance, call);
}

int batch_publish_all(struct batch *b, const struct instance *instance,
                      const struct outbox_call *call)
{
    int r = batch_publish(b, instance, call);
    uint64_t before = b->n, left = count_unset(b);
    while (r == OUTBOX_OK && b->n_kept == 0 && left > 0 && left < before) {
        b->n_again += left;
        r = batch_publish_unset(b, instance, call);
        before = left;
        left = count_unset(b);
    }
    return r;
}

uint64_t batch_accepted(const struct batch *b, uint64_t *ret_other)
{
    uint64_t n = 0, other = b->n;
    for (uint64_t i = 0; i < b->n; i++)
        if (b->outcomes[i].verdict == OUTBOX_ACCEPTED)
            n++;
        else if (other == b->n)
            other = i;
    if (ret_other)
        *ret_other = other;
    return n;
}

const char *batch_tell(const struct batch *b, uint64_t i)
{
    static const char *const names[] = {"unset", "accepted", "retry",
                                        "later", "rejected", "unavailable"};
    static char text[1000];
    const struct outbox_outcome *o = &b->outcomes[i];
    char number[16];
    snprintf(number, sizeof number, "%u", o->verdict);
    snprintf(text, sizeof text, "message %llu of %llu is %s (%.*s); the error is: %.300s",
             (unsigned long long)i + 1, (unsigned long long)b->n,
             o->verdict < sizeof names / sizeof names[0] ? names[o->verdict] : number,
             o->reason.p ? (int)(o->reason.n < 300 ? o->reason.n : 300) : 9,
             o->reason.p ? o->reason.p : "no reason", b->err.text[0] ? b->err.text : "none");
    return text;
}
