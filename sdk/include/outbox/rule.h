/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/rule.h - the operations of a rule plugin, which decides where messages go.
 *
 * This interface stays a draft, also after ABI 1 is frozen, until a developer outside the project
 * has written a rule.
 */
#ifndef OUTBOX_RULE_H
#define OUTBOX_RULE_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a message goes. The host owns it, sets `size`, and the rest to zero. */
struct outbox_decision {
    uint32_t size;
    uint32_t reserved;
    /**
     * An array of n names of publishers. n == 0: this rule does not decide, and the next route is
     * tried. Array and names belong to the plugin and are valid until the next call.
     */
    const char *const *publishers;
    uint64_t n;
    /** Why, for `outboxd route`; may be NULL. It belongs to the plugin, as above. */
    struct outbox_str reason;
};

struct outbox_rule_ops {
    uint32_t size;
    uint32_t reserved;
    /** open and close do what they do in a publisher; see <outbox/publisher.h>. */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
    void (*close)(void *instance);
    /**
     * Decides for one message, which is borrowed for the call. The host calls it between claim
     * and publish, so it does no input or output and takes microseconds. The same message gets
     * the same decision. After a negative result the message is held or failed, as the option
     * `unrouted` says.
     */
    int (*route)(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
