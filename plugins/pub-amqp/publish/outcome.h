/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h - what became of each message of a call, and why. */
#pragma once

#include "publish/call.h"
#include "publish/window.h"

/* Sets an outcome that is not good; the reason is copied for the call. */
void outcome_set(struct call *c, uint32_t index, uint32_t verdict, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Nothing more will be sent, for a reason that is not a message's. */
void outcome_set_unavailable(struct call *c, uint32_t after_ms, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* With window = 1, did a message of the same key fail? Then this one waits for the next call. */
bool outcome_key_must_wait(const struct call *c, uint32_t index);

/* The broker confirmed a message of the call under way, if there is one; `amqp` is the instance. */
void outcome_confirmed(void *amqp, const struct sent *sent, bool ack);
/* The broker returned it; its confirm is still to come. */
void outcome_returned(struct amqp *a, const struct sent *sent, uint16_t code, const char *text);

/* At the end of the call: what all outcomes together say, and those of what was never sent. */
void outcome_finish(struct call *c);
