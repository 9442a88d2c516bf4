/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h - a publisher's circuit breaker, shared by all workers.
 *
 * closed: messages go out. open: after an outage nothing is tried until a pause is over, which
 * grows with every failure (pause.h). probing: one worker asks whether the publisher is in order
 * again, then sends one message, another than the one that failed last. When that is accepted the
 * breaker closes, and batches grow again step by step. Without messages it is asked all the same,
 * and counts as in order when it says so; the next message is still a probe.
 */
#ifndef CORE_POLICY_BREAKER_H
#define CORE_POLICY_BREAKER_H

#include "policy/suspension.h"

#include <outbox/abi.h>

#include <stdatomic.h>

/* So often a message may have kept its publisher unavailable while others got through. */
#define BREAKER_STRIKES 3
#define BREAKER_SUSPECTS 16

/* A message that was there when its publisher became unavailable, by a hash of its id. */
struct breaker_suspect {
    uint64_t id; /* 0: none */
    uint32_t strikes;
    bool others_passed; /* since its last strike */
};

struct breaker {
    struct suspension pause;
    pthread_mutex_t lock; /* of what follows */
    uint32_t step;        /* messages that may go out at once; UINT32_MAX: any number */
    uint64_t probed;      /* the message that failed last */
    bool by_message;      /* the last failure was the answer to it */
    _Atomic bool any_suspect;
    struct breaker_suspect suspects[BREAKER_SUSPECTS];
    size_t next_suspect;
};

/* What a worker may do. */
struct breaker_pass {
    int64_t wait_ms;   /* not 0: leave it alone for so long */
    bool probe;        /* ask it first; then one message */
    uint32_t limit;    /* messages */
    uint64_t not_this; /* a probe's message should be another than this; 0: any */
};

void breaker_init(struct breaker *breaker);
void breaker_destroy(struct breaker *breaker);
uint64_t breaker_id(struct outbox_str id);

/* Then one of: breaker_passed, breaker_check_ok, breaker_failed, breaker_unknown. */
struct breaker_pass breaker_enter(struct breaker *breaker);

/* Another chunk after one that passed: how many messages it may have. */
uint32_t breaker_limit(struct breaker *breaker);

/* Messages were answered for: it is in order. True when that is news. */
bool breaker_passed(struct breaker *breaker);

/* It says that it is in order, and there was no message for it. True when that is worth telling:
 * not when it was the answer to a message that said otherwise, for then only a message can tell. */
bool breaker_check_ok(struct breaker *breaker);

/*
 * It is out of order. `culprit`: the message whose answer said so; 0: none did. The rest as
 * suspension_failed.
 */
bool breaker_failed(struct breaker *breaker, uint64_t culprit, int64_t after_ms, const char *reason,
                    size_t n, int64_t *ret_ms);
void breaker_unknown(struct breaker *breaker);

/* Was this message there, now for the third time, when the publisher became unavailable, did others
 * get through each time in between, and did it happen to no further message meanwhile? Then it is
 * the message's fault. Before breaker_failed. */
bool breaker_blames(struct breaker *breaker, uint64_t culprit);
/* It was charged for that, and the breaker stays as it is. */
void breaker_charged(struct breaker *breaker, uint64_t culprit);
/* Worth telling what was accepted? */
bool breaker_has_suspects(const struct breaker *breaker);
/* A message was accepted: it is no suspect, and the suspects have lost an excuse. */
void breaker_accepted(struct breaker *breaker, uint64_t id);

#endif
