/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/instance.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

#define LOG_TEXT_MAX 4096

static struct instance *self(const struct outbox_host *abi)
{
    return (struct instance *)(uintptr_t)abi; /* `abi` is the first member */
}

static void host_log(const struct outbox_host *abi, int32_t level, const char *text, uint64_t n)
{
    struct instance *host = self(abi);
    log_text(host->log, level, host->label, text, n < LOG_TEXT_MAX ? (size_t)n : LOG_TEXT_MAX);
}

static int64_t host_now(const struct outbox_host *abi)
{
    (void)abi;
    return clock_wall_us();
}

static int64_t host_monotonic(const struct outbox_host *abi)
{
    (void)abi;
    return clock_monotonic_us();
}

/* A slot is taken under the mutex and never given back; its value needs no lock. */
static void host_count(const struct outbox_host *abi, const char *name, int64_t delta)
{
    struct instance *host = self(abi);
    if (strlen(name) >= sizeof host->counters[0].name)
        return;
    pthread_mutex_lock(&host->lock);
    for (size_t i = 0; i < INSTANCE_COUNTERS; i++) {
        struct instance_counter *counter = &host->counters[i];
        if (counter->name[0] == '\0')
            memcpy(counter->name, name, strlen(name) + 1);
        if (strcmp(counter->name, name) == 0) {
            counter->value += delta;
            break;
        }
    }
    pthread_mutex_unlock(&host->lock);
}

static const void *host_extension(const struct outbox_host *abi, const char *id)
{
    (void)abi;
    (void)id;
    return NULL;
}

static int call_open(struct instance *host, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    const struct plugin *p = host->plugin;
    switch (p->desc.kind) {
    case OUTBOX_KIND_STORE:
        return p->ops.store.open(&host->abi, cfg, &host->self, err);
    case OUTBOX_KIND_PUBLISHER:
        return p->ops.publisher.open(&host->abi, cfg, &host->self, err);
    default:
        return p->ops.rule.open(&host->abi, cfg, &host->self, err);
    }
}

int instance_open(struct instance *host, const struct plugin *plugin, const struct outbox_cfg *cfg,
                  const char *label, struct log *log, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    memset(host, 0, sizeof *host);
    pthread_mutex_init(&host->lock, NULL);
    snprintf(host->label, sizeof host->label, "%s", label);
    host->log = log;
    host->plugin = plugin;
    host->abi = (struct outbox_host){
        .size = sizeof host->abi,
        .minor = OUTBOX_ABI_MINOR,
        .version = PACKAGE_VERSION,
        .instance = host->label,
        .log = host_log,
        .now_us = host_now,
        .monotonic_us = host_monotonic,
        .count = host_count,
        .option_text = options_text,
        .option_int = options_int,
        .option_count = options_count,
        .option_item = options_item,
        .extension = host_extension,
    };
    int r = call_open(host, cfg, &why);
    if (r >= 0 && !host->self)
        r = outbox_fail(&why, OUTBOX_E_CONFIG, "%s-%s opened nothing; the plugin is broken",
                        plugin_kind_prefix(plugin->desc.kind), plugin->desc.name);
    if (r >= 0)
        return OUTBOX_OK;
    host->self = NULL;
    return outbox_fail(err, r < OUTBOX_E_NOTSUP ? OUTBOX_E_RETRY : r, "%s: %s", label,
                       why.text[0] ? why.text : "cannot be opened, without a reason");
}

void instance_close(struct instance *host)
{
    if (!host->plugin || !host->self)
        return;
    switch (host->plugin->desc.kind) {
    case OUTBOX_KIND_STORE:
        host->plugin->ops.store.close(host->self);
        break;
    case OUTBOX_KIND_PUBLISHER:
        host->plugin->ops.publisher.close(host->self);
        break;
    default:
        host->plugin->ops.rule.close(host->self);
    }
    host->self = NULL;
    pthread_mutex_destroy(&host->lock);
}
