/* SPDX-License-Identifier: Apache-2.0 */
/* deadline.h - until when a call may take, and what ends it earlier. */
#pragma once

#include <outbox/plugin.h>

#include <stdbool.h>

struct deadline {
    const struct outbox_host *host;
    int64_t until_us;   /* monotonic */
    int64_t timeout_ms; /* as the host gave it */
    int cancel_fd;      /* readable: the host wants the call to end; -1: none */
};

int64_t deadline_now_us(const struct deadline *d);
void deadline_begin(struct deadline *d, const struct outbox_call *call);
/* The call ends in at most so many ms. */
void deadline_shorten(struct deadline *d, int64_t ms);
int64_t deadline_left_ms(const struct deadline *d);
/* Waits for a socket: OK, OUTBOX_E_TIMEOUT or OUTBOX_E_CANCELLED. */
int deadline_poll(const struct deadline *d, int fd, bool write);
/* False when the time is over, or the call cancelled. */
bool deadline_sleep(const struct deadline *d, int64_t ms);
