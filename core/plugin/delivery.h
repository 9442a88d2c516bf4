/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.h - how the batches of one publisher are worked, and the keys that set it. */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>

struct plugin;

/* Times in ms. [relay] has the defaults of all publishers. */
struct delivery {
    uint32_t batch_size;
    uint32_t max_retries;
    int64_t batch_timeout_ms;
    int64_t retry_min_ms;
    int64_t retry_max_ms;
};

/* A row of a table of the core's own options. */
#define DELIVERY_NUMBER(type, name, deflt, min, max, help)      \
    {                                                           \
        name, deflt, help, NULL, min, max, OUTBOX_OPT_##type, 0 \
    }
/* The rows of struct delivery, which [relay] and every publisher have. */
#define DELIVERY_OPTIONS                                                                      \
    DELIVERY_NUMBER(INT, "batch_size", "500", 1, 100000,                                      \
                    "How many messages a batch has at most."),                                \
        DELIVERY_NUMBER(                                                                      \
            DURATION, "batch_timeout", "15s", 10, INT64_C(3600000),                           \
            "Messages of a batch that are not published within this time are released."),     \
        DELIVERY_NUMBER(INT, "max_retries", "5", 1, 1000000,                                  \
                        "After so many attempts a message is failed."),                       \
        DELIVERY_NUMBER(DURATION, "retry_min", "1s", 1, INT64_C(2592000000),                  \
                        "How long a message waits at least before it is tried again."),       \
        DELIVERY_NUMBER(DURATION, "retry_max", "5m", 1, INT64_C(2592000000),                  \
                        "How long it waits at most; the limit begins at twice retry_min and " \
                        "doubles with each attempt.")

/* The core's keys in a publisher's section. */
extern const struct plugin delivery_publisher;

/* Is a key of a publisher's section the core's? Then no plugin may declare it. */
bool delivery_owns_key(const char *key);

/* Copies the values that the file sets or, with `all`, the defaults too. */
void delivery_apply(const struct outbox_cfg *cfg, bool all, struct delivery *delivery);

/* What the ranges cannot say: OUTBOX_E_CONFIG when retry_min is more than retry_max. */
int delivery_check(const struct delivery *delivery, struct outbox_err *err);
