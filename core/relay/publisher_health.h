/* SPDX-License-Identifier: Apache-2.0 */
/* publisher_health.h - whether a publisher as a whole is available: reported to its circuit
 * breaker, which all workers share, and to the log. */
#ifndef CORE_RELAY_PUBLISHER_HEALTH_H
#define CORE_RELAY_PUBLISHER_HEALTH_H

#include "relay/worker.h"

/* What a publish call says of the publisher. Returns for how long it is suspended, ms; 0: not. May
 * change an outcome: a message that makes its publisher unavailable again and again is charged. */
int64_t publisher_health_report(struct worker *w, struct chunk *chunk);

/* It is unavailable: arguments as breaker_failed. Returns for how long it is suspended, ms. */
int64_t publisher_health_failed(struct worker *w, size_t publisher, uint64_t culprit,
                                int64_t after_ms, struct outbox_str reason);

/* Asks the publisher's own check, after breaker_enter. When it fails, *ret_pause_ms says for how
 * long the publisher is suspended. After OUTBOX_OK the breaker still waits for a report. */
int publisher_health_check(struct worker *w, size_t publisher, int64_t timeout_ms,
                           int64_t *ret_pause_ms);
/* The check passed, and there is no message to send: that is all that can be reported. */
void publisher_health_check_ok(struct worker *w, size_t publisher);

#endif
