/* SPDX-License-Identifier: Apache-2.0 */
/* setup.h - what is tested, and how: the plugin's file and the INI of outbox-conform. */
#pragma once

#include "config/config.h"
#include "config/diagnostics.h"

struct setup {
    /* From the plugin's file name. */
    char *dir;
    uint32_t kind;
    char name[64];
    /* [conform] and [kill]; NULL: not set. */
    char *verify, *sql, *stop, *start;
    int64_t soak_ms;
    int64_t back_ms; /* how long the plugin may take to be back after its server is */
    int64_t grace_ms;
    /* The plugin's section. `config` owns all of it; NULL before the plugin is loaded. */
    char *section;
    struct config *config;
    const struct plugin *plugin;
    const struct outbox_cfg *options;
    uint32_t publish_ms; /* the longest call of publish */
};

/* Takes the file's name apart: OUTBOX_E_CONFIG when it is no plugin's. */
int setup_plugin(struct setup *s, const char *so, struct outbox_err *err);

/*
 * Reads the INI. With `load` the plugin, too, which may crash: in a process of its own. All
 * mistakes are reported. Results as those of load_config.
 */
int setup_read(struct setup *s, const char *file, bool load, diag_report_fn report, void *ctx);
