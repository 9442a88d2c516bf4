/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h - the core's own keys: [relay], [router], [log]; those of delivery.h besides. */
#ifndef CORE_CONFIG_SETTINGS_H
#define CORE_CONFIG_SETTINGS_H

#include "plugin/setting.h"

/* Of struct config: [relay] without the keys of struct delivery, and [router]. */
extern const struct setting settings_relay[];
extern const struct setting settings_router[];

/* [log], as indices of its choices. */
struct settings_log {
    int level;
    int format;
};
extern const struct setting settings_log[];

#endif
