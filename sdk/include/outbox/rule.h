/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/rule.h - the operations of a routing rule plugin (DRAFT within the draft:
 * it stays one until somebody outside the project has written a rule).
 */
#ifndef OUTBOX_RULE_H
#define OUTBOX_RULE_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a rule sends a message; the host owns it and sets `size`. */
struct outbox_decision {
    uint32_t size;
    uint32_t reserved;
    /** Names of publishers, an array of n pointers; 0: pass, the next route is tried. */
    const char *const *publishers;
    uint64_t n;
    /** Why, for `outboxd route`; may be NULL. Everything is borrowed until the next call. */
    struct outbox_str reason;
};

struct outbox_rule_ops {
    uint32_t size;
    uint32_t reserved;
    /** As for a publisher. */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
    void (*close)(void *instance);
    /**
     * Decides for one message. The same message gives the same answer; no input or
     * output, microseconds at most: it is called between claim and publish. A negative
     * result is an error on this message: it is held or failed as `unrouted` says.
     */
    int (*route)(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
