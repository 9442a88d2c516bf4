/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timed_call.h - a deadline for library calls that have none (name resolution, handshakes): they
 * are made in a thread of their own, and abandoned to it when they do not return in time.
 *
 * A timed_call belongs to one thread, its owner; between the owner and the thread of the call
 * an atomic state says who of them frees what.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* One call at a time. */
struct timed_call;

/* NULL without memory or descriptors; errno says which. */
struct timed_call *timed_call_new(void);
/*
 * Waits a little for a call that is still running, because libraries free their global state when
 * the process ends, whatever thread uses it; then the thread frees the rest. NULL is allowed.
 */
void timed_call_free(struct timed_call *call);
/* The same for n of them, with one wait for all. */
void timed_call_free_all(struct timed_call *const *all, size_t n);

/*
 * Runs work(arg) and waits for its end, for timeout_ms, or until cancel_fd (-1: none) is readable.
 * OUTBOX_OK: work has returned, arg is the caller's again. OUTBOX_E_RETRY: there was no thread for
 * it, arg is the caller's. OUTBOX_E_TIMEOUT, OUTBOX_E_CANCELLED: the call is abandoned, arg belongs
 * to its thread, which calls drop(arg) when work has returned. Until then no other call is started:
 * OUTBOX_E_BROKEN, arg is the caller's.
 */
int timed_call_run(struct timed_call *call, void (*work)(void *arg), void (*drop)(void *arg),
                   void *arg, int64_t timeout_ms, int cancel_fd);
