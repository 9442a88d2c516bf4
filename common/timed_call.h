/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timed_call.h - a deadline for library calls that have none (name resolution, handshakes): they
 * are made in a thread of their own, and left to it when they do not come back in time.
 */
#ifndef COMMON_TIMED_CALL_H
#define COMMON_TIMED_CALL_H

#include <stddef.h>
#include <stdint.h>

/* One call at a time. */
struct timed_call;

/* NULL without memory or descriptors. */
struct timed_call *timed_call_new(void);
/*
 * A call that is still under way is waited for a little, because libraries take their global state
 * away when the process ends, whoever uses it; then it keeps what it needs. NULL is allowed.
 */
void timed_call_free(struct timed_call *b);
/* The same for n of them, which are waited for together. */
void timed_call_free_all(struct timed_call *const *all, size_t n);

/*
 * Runs work(arg) and waits for its end, for timeout_ms, or until cancel_fd (-1: none) is readable.
 * OUTBOX_OK: it has ended, arg is the caller's again. OUTBOX_E_RETRY: it could not be begun, arg is
 * the caller's. OUTBOX_E_TIMEOUT, OUTBOX_E_CANCELLED: arg belongs to the thread, which calls
 * drop(arg) when work has returned. While that lasts no other call is begun: OUTBOX_E_BROKEN,
 * arg is the caller's.
 */
int timed_call_run(struct timed_call *b, void (*work)(void *arg), void (*drop)(void *arg),
                   void *arg, int64_t timeout_ms, int cancel_fd);

#endif
