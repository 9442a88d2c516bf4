/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/delivery.h"

#include "base/value.h"
#include "plugin/options.h"

#include <outbox/helpers.h>

#include <string.h>

static const struct outbox_option options[] = {
    DELIVERY_OPTIONS,
    {"workers", NULL, "Not supported yet.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"rate_limit", NULL, "Not supported yet.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
};
const struct plugin delivery_publisher = {.desc = {.options = options,
                                                   .n_options = sizeof options / sizeof options[0],
                                                   .option_stride = sizeof options[0]}};

bool delivery_owns_key(const char *key)
{
    return strcmp(key, "plugin") == 0 ||
           descriptor_find_option(&delivery_publisher, key, strlen(key));
}

void delivery_apply(const struct outbox_cfg *cfg, bool all, struct delivery *delivery)
{
    if (all || options_given(cfg, "batch_size"))
        delivery->batch_size = (uint32_t)options_int(cfg, "batch_size");
    if (all || options_given(cfg, "max_retries"))
        delivery->max_retries = (uint32_t)options_int(cfg, "max_retries");
    if (all || options_given(cfg, "batch_timeout"))
        delivery->batch_timeout_ms = options_int(cfg, "batch_timeout");
    if (all || options_given(cfg, "retry_min"))
        delivery->retry_min_ms = options_int(cfg, "retry_min");
    if (all || options_given(cfg, "retry_max"))
        delivery->retry_max_ms = options_int(cfg, "retry_max");
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
