/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "common/utf8.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

/* Another worker may take the messages at once. */
#define OWN_PAUSE_MS 1

static void log_own(struct worker *w, const struct publisher_state *state, const char *what,
                    struct outbox_str reason)
{
    char text[256];
    utf8_clean(reason.p, (size_t)reason.n, text, sizeof text);
    log_event(w->relay->log, OUTBOX_LOG_WARNING, what, "publisher", state->config->name, "reason",
              text, NULL);
}

int64_t publisher_health_failed(struct worker *w, size_t publisher, uint64_t culprit,
                                int64_t after_ms, struct outbox_str reason)
{
    struct publisher_state *state = &w->relay->publishers[publisher];
    int64_t pause_ms = 0;
    if (!reason.p || reason.n == 0)
        reason = outbox_cstr("it gave no reason");
    bool told;
    if (own_pause_failed(&w->publisher_pauses[publisher], state->common->passed_us, after_ms,
                         clock_monotonic_us(), &told)) {
        breaker_strike(&state->common->breaker, culprit);
        suspension_unknown(&state->common->breaker.suspension);
        if (told)
            log_own(w, state, "publisher fails for one worker; the others go on", reason);
        return OWN_PAUSE_MS;
    }
    if (breaker_failed(&state->common->breaker, culprit, after_ms, reason.p, (size_t)reason.n,
                       &pause_ms))
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "publisher is unavailable; its messages wait, uncharged", "publisher",
                  state->config->name, "reason",
                  suspension_snapshot(&state->common->breaker.suspension).reason, NULL);
    return pause_ms;
}

/* ---- no room for one more ---- */

/* The publisher works, but not for this worker, which waits alone; another one takes what this one
 * gives back. */
static void no_room(struct worker *w, size_t publisher, const char *reason)
{
    struct publisher_state *state = &w->relay->publishers[publisher];
    suspension_unknown(&state->common->breaker.suspension);
    wakeup_signal(&w->relay->wakeup);
    if (own_pause_begin(&w->publisher_pauses[publisher], 0, clock_monotonic_us()))
        log_own(w, state,
                "publisher has no room for one more worker; the others go on: lower `workers`, or "
                "raise a limit",
                outbox_cstr(reason));
}

/* ---- its own check ---- */

int publisher_health_check(struct worker *w, size_t publisher, int64_t timeout_ms,
                           int64_t *ret_pause_ms)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(timeout_ms, w->relay->stop_fd);
    activity_begin(&w->activity, ACTIVITY_CHECKING, publisher);
    int r = publisher_check(w->publishers[publisher], &call, &err);
    if (r == OUTBOX_E_CANCELLED)
        suspension_unknown(&w->relay->publishers[publisher].common->breaker.suspension);
    else if (r == OUTBOX_E_FULL)
        no_room(w, publisher, err.text);
    else if (r < 0)
        *ret_pause_ms = publisher_health_failed(w, publisher, 0, 0, outbox_cstr(err.text));
    return r;
}

/* ---- a publish call ---- */

static struct outbox_outcome *outcome_of(struct worker *w, const struct chunk *chunk, size_t i)
{
    return &w->slot->batch.outcomes[chunk->index[i]];
}

static uint64_t id_of(const struct worker *w, const struct chunk *chunk, size_t i)
{
    return breaker_id(w->slot->batch.claimed->messages[chunk->index[i]]->row_id);
}

/* A message that keeps its publisher unavailable while others are accepted is itself to blame. */
static bool blame(struct worker *w, const struct chunk *chunk, size_t culprit, uint64_t id)
{
    if (!breaker_blames(&w->relay->publishers[chunk->publisher].common->breaker, id))
        return false;
    outcome_of(w, chunk, culprit)->verdict = OUTBOX_RETRY;
    for (size_t i = culprit + 1; i < chunk->n; i++) /* no other message is */
        if (outcome_of(w, chunk, i)->verdict == OUTBOX_UNAVAILABLE)
            outcome_of(w, chunk, i)->verdict = OUTBOX_UNSET;
    return true;
}

/* Why it said nothing of any message; NULL: it had less than batch_timeout. The text does not vary
 * with the batch, so that one outage is told once. */
static const char *explain_silence(const struct chunk *chunk)
{
    if (!chunk->whole_time)
        return NULL;
    if (chunk->result == OUTBOX_OK && chunk->in_time)
        return "it returned OUTBOX_OK and set no outcome for any message";
    return chunk->result < 0 ? chunk->err.text : "it answered for no message within batch_timeout";
}

/*
 * An answer to a message says most: "unavailable" suspends the publisher, unless that message is
 * known for it; any other answer shows that the publisher works. Without any answer a failed call
 * suspends it, and so does silence. Silence in less than batch_timeout, or in a call that was ended
 * because the relay stops, says nothing.
 */
int64_t publisher_health_report(struct worker *w, struct chunk *chunk)
{
    struct breaker *breaker = &w->relay->publishers[chunk->publisher].common->breaker;
    struct outbox_str reason = outbox_cstr(chunk->err.text);
    size_t culprit = chunk->n, known = 0;
    for (size_t i = 0; i < chunk->n; i++) {
        uint32_t verdict = outcome_of(w, chunk, i)->verdict;
        known += verdict != OUTBOX_UNSET;
        if (verdict == OUTBOX_UNAVAILABLE && culprit == chunk->n)
            culprit = i; /* whose answer says that the publisher is unavailable */
        if (verdict == OUTBOX_ACCEPTED && breaker->any_suspect)
            breaker_accepted(breaker, id_of(w, chunk, i));
    }
    if (chunk->result == OUTBOX_E_FULL) {
        no_room(w, chunk->publisher, chunk->err.text);
        return 0;
    }
    bool stopped = w->relay->stopping || chunk->result == OUTBOX_E_CANCELLED;
    const char *silence = known > 0 || stopped ? NULL : explain_silence(chunk);
    bool broken = !stopped && chunk->result < 0 && chunk->result != OUTBOX_E_TIMEOUT;
    if (culprit < chunk->n) {
        const struct outbox_outcome *answer = outcome_of(w, chunk, culprit);
        uint64_t id = id_of(w, chunk, culprit);
        if (!blame(w, chunk, culprit, id))
            return publisher_health_failed(w, chunk->publisher, id, answer->after_ms,
                                           answer->reason.p ? answer->reason : reason);
    } else if (broken) {
        return publisher_health_failed(w, chunk->publisher, 0, 0, reason);
    } else if (silence) {
        return publisher_health_failed(w, chunk->publisher, 0, 0, outbox_cstr(silence));
    } else if (known == 0) {
        suspension_unknown(&breaker->suspension);
        return 0;
    }
    own_pause_passed(&w->publisher_pauses[chunk->publisher]);
    w->relay->publishers[chunk->publisher].common->passed_us = clock_monotonic_us();
    w->relay->publishers[chunk->publisher].common->awaited = false;
    if (breaker_passed(breaker))
        log_event(w->relay->log, OUTBOX_LOG_INFO, "publisher is back", "publisher",
                  w->relay->publishers[chunk->publisher].config->name, NULL);
    return 0;
}
