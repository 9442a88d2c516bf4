/* SPDX-License-Identifier: Apache-2.0 */
/* relay.h - the relay: workers that claim, route, publish and settle, and what keeps them going. */
#pragma once

#include "base/log.h"
#include "config/config.h"

#include <outbox/store.h>

#include <stdbool.h>
#include <stdint.h>

/* How to run. Zero: until stopped. */
struct relay_mode {
    bool once; /* end when nothing is due, and nothing will be within wait_ms of what was done last
                */
    int64_t wait_ms; /* and give up when the store or a publisher was unavailable for so long */
};

struct relay;
struct json_object;

/* What was done so far. */
struct relay_report {
    uint64_t accepted;
    uint64_t retried;         /* charged attempts that will be followed by another */
    uint64_t failed;          /* dead letters made */
    uint64_t unrouted;        /* held at present, as far as seen */
    uint64_t stale;           /* settles that came after the claim had been lost */
    uint64_t quarantined;     /* rows that the store leaves alone for a while */
    struct outbox_stats left; /* once: what is in the table at the end */
    bool left_unknown;        /* the store cannot tell, or could not be asked */
    bool cut_short;           /* once: relay_stop came before all that is due was done */
    char outage[384]; /* once: what was unavailable for too long, or at the end; empty: nothing */
};

/* ---- in steps, for who cannot wait for a plugin that blocks where it must not ---- */

/* `log` is borrowed until relay_free. NULL without memory. */
struct relay *relay_new(const struct relay_mode *mode, struct log *log);

/*
 * Opens everything, which validates and does not connect. `config` is borrowed until relay_free.
 * `before` (NULL: none) is a running relay: this one is to follow it, takes over the instances of
 * the publishers that it keeps, and shares what is known of them. OUTBOX_E_CONFIG: an option is
 * wrong. After a failure only relay_finish and relay_free are left.
 */
int relay_open(struct relay *relay, const struct config *config, const struct relay *before,
               struct outbox_err *err);

/* What is being opened, "publisher mail"; NULL: nothing. Any thread, also while it is opened. */
const char *relay_opening(const struct relay *relay);

/* Starts the threads, which take no signals. After a failure: relay_stop, relay_finish and
 * relay_free. */
int relay_launch(struct relay *relay, struct outbox_err *err);

/* Both in one. */
int relay_start(const struct config *config, const struct relay_mode *mode, struct log *log,
                struct relay **ret, struct outbox_err *err);

/* ---- one relay after another: succession.c ---- */

/*
 * Lets `relay` finish the batches that it has, and then end; each of its workers hands over to that
 * of `next` with its number, which waits for it. `next` was opened and launched to follow it.
 */
void relay_hand_over(struct relay *relay, struct relay *next);
/* `next` waits no longer for the workers of `relay`, nor they for it. Before `next` is freed. */
void relay_part(struct relay *relay, struct relay *next);
/* For how long a batch that a worker has may take, ms. */
int64_t relay_hold_ms(const struct relay *relay);
/* What threads that have not ended do, "worker 2 publishes to mail since 12 s"; may be empty. */
void relay_describe(struct relay *relay, char *text, size_t cap);
/* What it waits for that is unavailable or takes long, "the store is unavailable: connection
 * refused, since 2026-11-30T09:20:11Z"; empty: for nothing. Any thread. */
void relay_describe_waits(struct relay *relay, char *text, size_t cap);
/*
 * Is every thread alive? One that is in a plugin's call for slack_us longer than the call's
 * time-out is not, nor is one that should do something and calls nothing; then `why` says what it
 * does. Who waits for messages, or for what is unavailable, is alive. Any thread, while the relay
 * runs.
 */
bool relay_gets_on(struct relay *relay, int64_t slack_us, char *why, size_t cap);
/* How the last reload went, for the relay's row: a JSON object, which this takes. */
void relay_set_reload(struct relay *relay, struct json_object *reload);

/* Readable when all threads have ended by themselves or because of relay_stop. */
int relay_ended_fd(const struct relay *relay);

/* Begin nothing new; finish or give back what is in flight within shutdown_timeout. Any thread. */
void relay_stop(struct relay *relay);

/* Is the calling thread one of the relay's, so that it cannot wait for the relay's end? */
bool relay_runs_caller(const struct relay *relay);

/* Does no worker publish or settle now, and waits no message for the store or a publisher to be
 * available? Else `why` tells what is under way. What was done before that is counted. Any thread.
 */
bool relay_is_resting(struct relay *relay, char *why, size_t cap);

/* What was done so far, without what only the end can tell. Any thread. */
void relay_snapshot(const struct relay *relay, struct relay_report *report);

/* Waits for the threads, which takes no time once relay_ended_fd is readable, fills *report,
 * without what the next relay goes on to count, and closes what is open. Once. */
void relay_finish(struct relay *relay, struct relay_report *report);

/* After relay_finish, or never opened. NULL is allowed. */
void relay_free(struct relay *relay);
