/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/publisher.h - the operations of a publisher plugin (DRAFT of ABI 1).
 *
 * Life of an instance: open (validates, does not connect) -> check / publish / tend
 * in any order, any number of times -> close. A publisher connects when it is first
 * needed and reconnects by itself or returns OUTBOX_E_BROKEN to be opened anew.
 */
#ifndef OUTBOX_PUBLISHER_H
#define OUTBOX_PUBLISHER_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What became of one message. The host zeroes outcomes before the call. */
#define OUTBOX_UNSET 0u       /* unknown or not tried: goes back uncharged, will be sent again */
#define OUTBOX_ACCEPTED 1u    /* durably accepted by the other side: never sent again */
#define OUTBOX_RETRY 2u       /* this message failed: charged, tried again after a backoff */
#define OUTBOX_LATER 3u       /* this message, not now: uncharged, tried again after after_ms */
#define OUTBOX_REJECTED 4u    /* this message can never be delivered: charged, becomes failed */
#define OUTBOX_UNAVAILABLE 5u /* the whole publisher is out of order: uncharged, it is paused */

/** One message's outcome; the host owns it and sets `size`, the plugin fills the rest. */
struct outbox_outcome {
    uint32_t size;
    uint32_t verdict;
    /** For OUTBOX_LATER and OUTBOX_UNAVAILABLE: not before this many ms; 0: the host decides. */
    uint32_t after_ms;
    uint32_t reserved;
    /** Why, for people and for last_error; borrowed until the next call on this instance. */
    struct outbox_str reason;
};

/** What `tend` found; the host owns it and sets `size`. */
struct outbox_keepalive {
    uint32_t size;
    /** OUTBOX_ACCEPTED when in order, OUTBOX_UNAVAILABLE when not. */
    uint32_t verdict;
    /** Call again within this many ms; 0: no need. */
    uint32_t again_ms;
    uint32_t reserved;
    struct outbox_str reason; /* borrowed until the next call on this instance */
};

/** Capabilities of an instance. */
#define OUTBOX_PUB_KEEPS_ORDER 1u /* messages of one publish call arrive in the order given */
#define OUTBOX_PUB_KEEPALIVE 2u   /* wants tend() to be called while idle */

struct outbox_publisher_ops {
    uint32_t size;
    uint32_t reserved;

    /**
     * Validates the options, allocates, starts nothing that can block. On failure
     * *ret is left alone. Errors: OUTBOX_E_CONFIG (an option's value), OUTBOX_E_RETRY (memory).
     */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);

    /** Frees everything; returns soon (within a second); NULL is allowed. */
    void (*close)(void *instance);

    /** OUTBOX_PUB_ flags. NULL operation: none. */
    uint64_t (*capabilities)(void *instance);

    /** Connects if need be and says whether messages could be published now. Sends none. */
    int (*check)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /**
     * Publishes msgs[0..n-1] and sets an outcome for each in *outcomes[i].
     *
     * OUTBOX_ACCEPTED only when the other side has durably accepted the message.
     * What is not known when the call must end stays OUTBOX_UNSET, and the
     * publisher forgets it: a confirm that comes later is ignored. The host fits
     * timeout_ms to the claim, so returning late risks duplicates.
     *
     * The result is about the connection, not the messages: outcomes count even
     * when it is negative. OUTBOX_OK with every outcome OUTBOX_UNAVAILABLE is as good as
     * an error. n may be 0. May be called again at once.
     */
    int (*publish)(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err);

    /** Optional. Serves heartbeats and asynchronous events while idle; does not block. */
    int (*keepalive)(void *instance, struct outbox_keepalive *ret, struct outbox_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
