/* SPDX-License-Identifier: Apache-2.0 */
/* delivery.h - how the batches of one publisher are worked, and the keys that set it. */
#ifndef CORE_PLUGIN_DELIVERY_H
#define CORE_PLUGIN_DELIVERY_H

#include "plugin/setting.h"

#include <stdbool.h>

/* Times in ms. [relay] has the defaults of all publishers. */
struct delivery {
    uint32_t batch_size;
    uint32_t max_retries;
    int64_t batch_timeout_ms;
    int64_t retry_min_ms;
    int64_t retry_max_ms;
};

/* The keys of struct delivery, and with those that only a publisher has. */
#define DELIVERY_PUBLISHER_ONLY 2
extern const struct setting delivery_publisher_settings[];
#define delivery_settings (delivery_publisher_settings + DELIVERY_PUBLISHER_ONLY)

/* Is a key of a publisher's section the core's? Then no plugin may declare it. */
bool delivery_owns_key(const char *key);

/* What its ranges cannot say: OUTBOX_E_CONFIG when retry_min is more than retry_max. */
int delivery_check(const struct delivery *delivery, struct outbox_err *err);

#endif
