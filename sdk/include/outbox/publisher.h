/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/publisher.h - the operations of a publisher plugin (DRAFT of ABI 1).
 *
 * Life of an instance: open, then check, publish (or submit and collect) and keepalive any number
 * of times and in any order, then close. A publisher connects in its first check or publish. After
 * it lost the connection it connects again by itself, or it returns OUTBOX_E_BROKEN and the host
 * opens another instance.
 *
 * Two forms. The plain one is `publish`: one call, all outcomes. The asynchronous one, for clients
 * with a queue and threads of their own, is `submit` and `collect`: messages go out while others
 * still wait for their outcomes, and none of them waits behind a slow one. A plugin has one of
 * them, or both; the host then uses submit and collect. One client for all workers is a shared
 * state (shared_open in <outbox/abi.h>); each instance keeps its own list of what it has submitted.
 * As all calls on one instance, submit and collect never overlap. Other calls may come in between,
 * while messages have no outcome yet: a further submit, check, keepalive, close.
 */
#ifndef OUTBOX_PUBLISHER_H
#define OUTBOX_PUBLISHER_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The outcome of one message. "Charged" means that the attempt counts towards max_retries.
 * Charge a message only for what is wrong with this message, never for an outage.
 */
#define OUTBOX_UNSET 0u    /* unknown, or not tried: uncharged, and sent again */
#define OUTBOX_ACCEPTED 1u /* the other side has accepted it durably: never sent again */
#define OUTBOX_RETRY 2u    /* this message failed: charged, and sent again after a backoff */
#define OUTBOX_LATER 3u    /* this message cannot be taken now: uncharged, sent after after_ms */
#define OUTBOX_REJECTED 4u /* this message can never be delivered: charged, it becomes failed */
#define OUTBOX_UNAVAILABLE \
    5u /* the whole publisher is unavailable: uncharged, the host pauses it */

/** Where a plugin puts the outcome. The host owns it, sets `size`, and the rest to zero. */
struct outbox_outcome {
    uint32_t size;
    uint32_t verdict; /* OUTBOX_UNSET ... OUTBOX_UNAVAILABLE */
    /** OUTBOX_LATER, OUTBOX_UNAVAILABLE: how long to wait at least, ms; 0: the host decides. A host
     * takes more than OUTBOX_AFTER_MAX_MS as that. For UNAVAILABLE it may try earlier, after some
     * minutes. */
    uint32_t after_ms;
    uint32_t reserved;
    /**
     * The reason, for people, for the log and the column last_error. It belongs to the plugin and
     * is valid until the next call on this instance, whatever its operation: close, too. So it is
     * never on the plugin's stack; outbox_reason() of <outbox/helpers.h> has memory for it.
     */
    struct outbox_str reason;
};

/** The longest after_ms: a day. */
#define OUTBOX_AFTER_MAX_MS 86400000u
/** How long close may take, ms. */
#define OUTBOX_CLOSE_MS 1000u

/** What `keepalive` reports. The host owns it, sets `size`, and the rest to zero. */
struct outbox_keepalive {
    uint32_t size;
    /** OUTBOX_ACCEPTED: the publisher is healthy. OUTBOX_UNAVAILABLE: it is not. */
    uint32_t verdict;
    /** When the host should call again at the latest, ms from now; 0: the plugin does not mind. The
     * host may call earlier, and does so every second or so.
     */
    uint32_t again_ms;
    uint32_t reserved;
    /** Why it is unavailable. It belongs to the plugin and is valid until the next call. */
    struct outbox_str reason;
};

/** Capabilities of an instance, bits. The lower half is critical, see <outbox/abi.h>. */
/**
 * Messages with the same key arrive in the order in which they were handed to this instance. Once
 * one of them has another outcome than accepted, those behind it with the same key in that call
 * stay unset; of submit: those that the plugin has got by then. Between keys there is no order.
 */
#define OUTBOX_PUB_KEEPS_ORDER 1u
#define OUTBOX_PUB_KEEPALIVE 2u /* the host calls keepalive while nothing is published */

struct outbox_publisher_ops {
    uint32_t size;
    uint32_t reserved;

    /**
     * Validates the options, allocates, and does not connect or block. Sets *ret to the new
     * instance, which the plugin owns; does not change *ret when it fails. host and cfg stay
     * valid until close has returned. Errors: OUTBOX_E_CONFIG (the value of an option),
     * OUTBOX_E_RETRY (memory).
     */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);

    /**
     * Frees the instance, within OUTBOX_CLOSE_MS. A client whose own close has no limit is closed
     * in a thread of the plugin, which may go on behind. What was submitted and not collected is
     * the host's again, and not read any more. A host that stops waits no longer than its
     * shutdown_timeout. The host may pass NULL.
     */
    void (*close)(void *instance);

    /** Optional. Returns OUTBOX_PUB_ bits, without blocking. */
    uint64_t (*capabilities)(void *instance);

    /** Connects if it is not connected. OUTBOX_OK: messages can be published now. Sends none. */
    int (*check)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /**
     * Required, unless submit and collect are there.
     * Publishes msgs[0..n-1] and sets the outcome of msgs[i] in *outcomes[i]. Messages and
     * outcomes are borrowed for the call.
     *
     * Set OUTBOX_ACCEPTED only when the other side has accepted the message durably. A message
     * whose fate is unknown when the call must end stays OUTBOX_UNSET, and the publisher ignores
     * a confirm that arrives later. timeout_ms ends before the claim does; a publisher that
     * returns later causes duplicates.
     *
     * The result describes the connection, not the messages: outcomes count even when the result
     * is negative. After a negative result the host pauses the publisher and charges no message
     * that has no outcome. It does the same after OUTBOX_OK with OUTBOX_UNAVAILABLE in any
     * outcome, and after OUTBOX_OK without an outcome for any message, since nothing can be told
     * from that. Other messages that stay unset are sent again. n is at least 1. OUTBOX_E_FULL is
     * about this instance alone, as when the other side limits connections: the host uses the
     * others, and tries this one again a little later.
     */
    int (*publish)(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err);

    /**
     * Optional, needs OUTBOX_PUB_KEEPALIVE. Sends heartbeats and reads what the other side sent,
     * while nothing is published, and while the worker waits for outcomes, which only collect hands
     * out; does not block. *ret says whether the publisher is healthy, and
     * when to call again. After OUTBOX_E_BROKEN the host closes the instance and opens another.
     * Another negative result says what OUTBOX_UNAVAILABLE says.
     */
    int (*keepalive)(void *instance, struct outbox_keepalive *ret, struct outbox_err *err);

    /* ---- the asynchronous form: all of these but ready_fd, or none ---- */

    /**
     * Begins to publish msgs[0..n-1], in this order, and does not wait for their outcomes; it may
     * connect. *ret_n: how many it took, from the first on; fewer than n when its queue is full,
     * and after an error. The messages that it took, and their outcomes, are the plugin's until
     * collect has handed the outcome out, or close has returned: they are not copied. It writes to
     * an outcome only in collect. call->timeout_ms is the time in which each of them has its
     * outcome: one whose fate is unknown then is handed out as OUTBOX_UNSET, within half a second.
     * cancel_fd ends this call, and takes nothing back: a host that stops goes on to collect while
     * it has time, and then closes the instance. The result describes the connection, as that of
     * publish. n is at least 1.
     */
    int (*submit)(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                  const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                  uint64_t *ret_n, struct outbox_err *err);

    /**
     * Waits until a submitted message has its outcome, at most call->timeout_ms (0: not at all),
     * and hands out all that have one: *ret is an array of *ret_n of the pointers that submit got,
     * each once, in any order. The array belongs to the plugin until the next call; so do the
     * reasons. OUTBOX_OK with *ret_n == 0: none has one yet. The host asks only while something is
     * submitted. It closes a plugin as broken that hands out what it has not got, or twice, or that
     * keeps a message longer than submit says. *ret and *ret_n count whatever the result is. A
     * negative result describes the connection; what was submitted is still handed out by later
     * calls, as OUTBOX_UNSET where nothing is known. After
     * OUTBOX_E_BROKEN the host closes the instance.
     */
    int (*collect)(void *instance, const struct outbox_call *call,
                   struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err);

    /** Optional. A descriptor, of the plugin, that is readable while collect has something to hand
     * out, and only then; the host polls it and never reads it. It may differ from call to call.
     * -1: none. Without it the host asks often. */
    int32_t (*ready_fd)(void *instance);
};

#ifdef __cplusplus
}
#endif
#endif
