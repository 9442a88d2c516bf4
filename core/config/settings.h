/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h - the core's own sections as tables of options, and their way into the model. */
#ifndef CORE_CONFIG_SETTINGS_H
#define CORE_CONFIG_SETTINGS_H

#include "config/config.h"

struct settings {
    struct plugin options; /* only its descriptor: as if a plugin had declared them */
    /* Copies the values; OUTBOX_OK or OUTBOX_E_RETRY. */
    int (*apply)(const struct outbox_cfg *cfg, struct config *config);
};
/* [relay], [router], [log] */
extern const struct settings settings_relay, settings_router, settings_log;

/* All of them at their defaults. */
int settings_apply_defaults(struct config *config);

#endif
