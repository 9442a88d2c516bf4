/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - the options of the section, checked against each other. Constant once read. Where to
 * connect to, and as which user, is read again for each login: login_settings.h.
 */
#pragma once

#include "publish/template.h"

#include <outbox/plugin.h>

enum declare { DECLARE_NONE, DECLARE_PASSIVE, DECLARE_CREATE };

struct settings {
    bool queue_mode;
    struct template exchange; /* mode = pubsub */
    struct template key;      /* the routing key; the queue's name in mode = queue */
    char **allowed;           /* patterns for names that come from messages */
    size_t n_allowed;
    enum declare declare;
    char *exchange_type;
    bool quorum;
    bool mandatory;
    bool persistent;
    int64_t confirm_us;
    int64_t connect_us;
    uint32_t window;
};

#define SETTINGS_N_OPTIONS 21
extern const struct outbox_option settings_options[SETTINGS_N_OPTIONS];

/* Reads and checks every option but those of the login. On failure settings_free must follow, too.
 */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *ret, struct outbox_err *err);
void settings_free(struct settings *settings);

/* What names the exchange or queue that has to exist. */
static inline const struct template *settings_destination(const struct settings *s)
{
    return s->queue_mode ? &s->key : &s->exchange;
}
