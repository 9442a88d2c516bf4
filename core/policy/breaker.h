/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h - a publisher's circuit breaker, shared by all workers.
 *
 * closed: messages go out. open: after an outage nothing is tried until a pause is over, which
 * grows with every failure (suspension.h). probing: one worker asks the publisher's own check, then
 * sends one message, another than the one that failed last. When that is accepted the breaker
 * closes, and batches grow again step by step. Without messages only the check is asked, and the
 * publisher counts as available when it passes; the next message is still a probe.
 *
 * `lock` protects all fields but `suspension`, which has a lock of its own. The two are never held
 * together. What is atomic may be read without it.
 */
#pragma once

#include "policy/suspension.h"

#include <outbox/abi.h>

#include <stdatomic.h>

/* A pause between two trials: the first one, and the longest, unless the publisher asks for more
 * (ASKED), ms. */
#define BREAKER_PAUSE_MIN_MS 500
#define BREAKER_PAUSE_MAX_MS 30000
#define BREAKER_PAUSE_ASKED_MAX_MS 300000

/* The failure for which a message is charged that makes its publisher unavailable again and again
 * while others are accepted. */
#define BREAKER_STRIKES 3
#define BREAKER_SUSPECTS 16

/* A message whose answer made its publisher unavailable, by a hash of its id. */
struct breaker_suspect {
    uint64_t id; /* 0: none */
    uint32_t strikes;
    uint64_t accepted; /* as of the breaker, at its last strike */
};

struct breaker {
    struct suspension suspension;
    pthread_mutex_t lock;
    _Atomic uint32_t slow_start; /* messages that may go out at once; UINT32_MAX: any number */
    _Atomic uint64_t last_id;    /* the message that failed last */
    uint64_t accepted;           /* messages, counted while there are suspects */
    struct breaker_suspect suspects[BREAKER_SUSPECTS]; /* a ring: the oldest gives way */
    size_t next_suspect;
    _Atomic bool any_suspect; /* accepted messages are to be reported */
};

/* What a worker may do. */
struct breaker_pass {
    int64_t wait_ms;   /* not 0: nothing for so long */
    bool probe;        /* ask the publisher's check first; then send one message */
    uint32_t limit;    /* messages */
    uint64_t avoid_id; /* a probe's message should be another than this; 0: any */
};

void breaker_init(struct breaker *b);
void breaker_destroy(struct breaker *b);
uint64_t breaker_id(struct outbox_str id);

/* Then one of: breaker_passed, breaker_failed, suspension_check_ok (there was no message
 * for it), suspension_unknown. */
struct breaker_pass breaker_enter(struct breaker *b);

/* The publisher answered for messages: it is available. True when that is to be logged. */
bool breaker_passed(struct breaker *b);

/* It is unavailable. `culprit`: the message whose answer said so; 0: none did. The rest as
 * suspension_failed. */
bool breaker_failed(struct breaker *b, uint64_t culprit, int64_t after_ms, const char *reason,
                    size_t n, int64_t *ret_ms);

/* It is unavailable for one worker only, which does not open the breaker. */
void breaker_strike(struct breaker *b, uint64_t culprit);

/*
 * Is it this message's own fault that the publisher is unavailable? When it happened to this
 * message BREAKER_STRIKES times with this one, others were accepted each time in between, and it
 * happened to no message anew meanwhile. Then the message is to be charged, instead of
 * breaker_failed.
 */
bool breaker_blames(struct breaker *b, uint64_t culprit);

/* A message was accepted: it is no suspect, and not the publisher's fault what befalls others. */
void breaker_accepted(struct breaker *b, uint64_t id);
