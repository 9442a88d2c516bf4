/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - the options of the section, checked against each other. Constant once read. Where to
 * connect to, and as which user, is read again for each login: login_settings.h.
 */
#pragma once

#include "publish/property.h"

#include <outbox/plugin.h>

#include <stdbool.h>

enum declare { DECLARE_NONE, DECLARE_PASSIVE, DECLARE_CREATE };

struct settings {
    bool queue_mode;
    struct outbox_template exchange; /* mode = pubsub */
    struct outbox_template key;      /* the routing key; the queue's name in mode = queue */
    const struct outbox_host *host;  /* with cfg, for lists of patterns */
    const struct outbox_cfg *cfg;
    enum declare declare;
    char *exchange_type;
    const char *queue_type;
    int64_t stream_max_bytes; /* 0: as the broker has it */
    int64_t stream_max_age_s;
    bool limits_keys;  /* allow_routing_keys is set */
    bool json_headers; /* header_types = json; of those that json_headers names, or of all */
    bool all_headers;
    struct properties properties;
    bool mandatory;
    bool persistent;
    int64_t confirm_us;
    int64_t connect_us;
    uint32_t window;
};

#define SETTINGS_N_OPTIONS 28
extern const struct outbox_option settings_options[SETTINGS_N_OPTIONS];

/* Reads and checks every option but those of the login. On failure settings_free must follow, too.
 */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *ret, struct outbox_err *err);
void settings_free(struct settings *settings);

/* What names the exchange or queue that has to exist. */
static inline const struct outbox_template *settings_destination(const struct settings *s)
{
    return s->queue_mode ? &s->key : &s->exchange;
}
