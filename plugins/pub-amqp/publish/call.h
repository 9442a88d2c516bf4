/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one publish call: which of its messages is next, when it must end, and what became of
 * it. It lives on the stack of the thread that publishes.
 */
#pragma once

#include "connection/connection.h"
#include "connection/reply_code.h"
#include "publish/template.h"

struct amqp;

/* More missing exchanges than this are not remembered: each of their messages closes the channel.
 */
#define MISSING_MAX 8

struct call {
    struct amqp *a;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint32_t n;
    uint32_t next; /* those before it were sent, or have an outcome, or wait for their key */
    uint32_t suspects_end;       /* one of those before it closed the channel: they go one by one */
    amqp_table_entry_t *headers; /* room for those of the message that is being sent */

    int64_t began_us;
    struct limits limits;  /* when the call must end */
    int64_t send_until_us; /* what is sent later could not be confirmed in time */
    uint32_t grace_ms;
    bool stop; /* send nothing more */
    bool cancelled;

    uint64_t acks, nacks;
    bool some_failed;              /* a message has an outcome that is not good */
    struct outbox_str unavailable; /* why nothing more can be sent; p NULL: it can */
    uint32_t after_ms;
    size_t n_missing; /* exchanges that the broker refused, each after it had closed the channel */
    struct missing_exchange {
        char name[SHORT_MAX + 1];
        struct reply reply;
    } missing[MISSING_MAX];
};

/*
 * Sets how long a call of the host's may work: all of its time but a little for coming back. Arms
 * the watchdog for a moment later; disarm it at the end.
 */
int call_begin(struct amqp *a, const struct outbox_call *call, struct limits *ret,
               struct outbox_err *err);
/* Takes note of a cancel_fd that became readable. */
void call_cancel(struct call *c);
