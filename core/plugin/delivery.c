/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/delivery.h"

#include "base/value.h"

#include <outbox/helpers.h>

#include <string.h>

#define HOUR INT64_C(3600000)
#define MONTH (30 * 24 * HOUR)
#define NUMBER(type, name, deflt, min, max, member) \
    SETTING_NUMBER(type, name, deflt, min, max, delivery, member)

const struct setting delivery_publisher_settings[] = {
    {{"workers", NULL, NULL, NULL, 0, 0, SETTING_LATER, 0}, 0, 0},
    {{"rate_limit", NULL, NULL, NULL, 0, 0, SETTING_LATER, 0}, 0, 0},
    NUMBER(INT, "batch_size", "500", 1, 100000, batch_size),
    NUMBER(DURATION, "batch_timeout", "15s", 10, HOUR, batch_timeout_ms),
    NUMBER(INT, "max_retries", "5", 1, 1000000, max_retries),
    NUMBER(DURATION, "retry_min", "1s", 1, MONTH, retry_min_ms),
    NUMBER(DURATION, "retry_max", "5m", 1, MONTH, retry_max_ms),
    SETTING_END,
};

bool delivery_owns_key(const char *key)
{
    return strcmp(key, "plugin") == 0 || setting_find(delivery_publisher_settings, key);
}

int delivery_check(const struct delivery *delivery, struct outbox_err *err)
{
    struct value_text low, high;
    if (delivery->retry_min_ms <= delivery->retry_max_ms)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "retry_min (%s) is more than retry_max (%s)",
                       value_show_duration(delivery->retry_min_ms, &low),
                       value_show_duration(delivery->retry_max_ms, &high));
}
