/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/instance.h"

#include "base/clock.h"
#include "plugin/guard.h"
#include "plugin/shared_state.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

static struct instance *self(const struct outbox_host *abi)
{
    return (struct instance *)(uintptr_t)abi; /* `abi` is the first member */
}

static void host_log(const struct outbox_host *abi, int32_t level, const char *text, uint64_t n)
{
    struct instance *instance = self(abi);
    log_text(instance->log, level, instance->label, text, (size_t)n);
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

/* The first call with a name takes a free slot, and keeps it. Further names are not counted. */
static void host_count(const struct outbox_host *abi, const char *name, int64_t delta)
{
    struct instance *instance = self(abi);
    if (strlen(name) >= sizeof instance->counters[0].name)
        return;
    pthread_mutex_lock(&instance->lock);
    for (size_t i = 0; i < INSTANCE_COUNTERS; i++) {
        struct instance_counter *counter = &instance->counters[i];
        if (counter->name[0] == '\0')
            memcpy(counter->name, name, strlen(name) + 1);
        if (strcmp(counter->name, name) == 0) {
            counter->value += delta;
            break;
        }
    }
    pthread_mutex_unlock(&instance->lock);
}

static const void *host_extension(const struct outbox_host *abi, const char *id)
{
    (void)abi;
    (void)id;
    return NULL;
}

/* The operations of every kind begin alike, size, `open`, `close`, so that a publisher's stand for
 * all of them in the union. */
_Static_assert(offsetof(struct outbox_store_ops, close) ==
                       offsetof(struct outbox_publisher_ops, close) &&
                   offsetof(struct outbox_rule_ops, close) ==
                       offsetof(struct outbox_publisher_ops, close),
               "every table of operations begins with open and close");

void instance_init_host(struct instance *instance, const struct instance_setup *setup)
{
    memset(instance, 0, sizeof *instance);
    pthread_mutex_init(&instance->lock, NULL);
    snprintf(instance->label, sizeof instance->label, "%s", setup->label);
    instance->log = setup->log;
    instance->plugin = setup->plugin;
    instance->abi = (struct outbox_host){
        .size = sizeof instance->abi,
        .minor = OUTBOX_ABI_MINOR,
        .version = PACKAGE_VERSION,
        .instance = instance->label,
        .log = host_log,
        .now_us = host_now,
        .monotonic_us = host_monotonic,
        .count = host_count,
        .option_text = options_text,
        .option_int = options_int,
        .option_count = options_count,
        .option_item = options_item,
        .extension = host_extension,
        .option_read = options_read,
        .option_is_set = options_is_set,
        .option_key = options_key,
        .publish_ms = setup->publish_ms,
    };
}

void instance_destroy_host(struct instance *instance)
{
    instance->self = NULL;
    pthread_mutex_destroy(&instance->lock);
}

static int enter_shared(struct instance *instance, const struct instance_setup *setup,
                        struct outbox_err *why)
{
    struct shared_state *shared = setup->shared;
    if (!setup->plugin->desc.shared_open)
        return OUTBOX_OK;
    if (!shared && !(shared = instance->own_shared = shared_state_new()))
        return outbox_fail(why, OUTBOX_E_RETRY, "out of memory");
    int r = shared_state_enter(shared, setup, &instance->abi.shared, why);
    if (r == OUTBOX_OK)
        instance->shared = shared;
    return r;
}

static void leave_shared(struct instance *instance)
{
    if (instance->shared)
        shared_state_leave(instance->shared);
    shared_state_free(instance->own_shared);
    instance->shared = instance->own_shared = NULL;
}

/* Critical capabilities that this host does not know would change what it must do. */
static int read_capabilities(struct instance *instance, struct outbox_err *why)
{
    const struct plugin *plugin = instance->plugin;
    bool store = plugin->desc.kind == OUTBOX_KIND_STORE;
    uint64_t known = store ? OUTBOX_STORE_KEY_ORDER | OUTBOX_STORE_LANES | OUTBOX_STORE_SPLIT |
                                 OUTBOX_STORE_DELAY | OUTBOX_STORE_PARTIAL |
                                 OUTBOX_STORE_FREES_ON_DEATH | OUTBOX_STORE_RENEWS |
                                 OUTBOX_STORE_WAITS
                           : OUTBOX_PUB_KEEPS_ORDER | OUTBOX_PUB_KEEPALIVE;
    uint64_t (*capabilities)(void *) =
        store ? plugin->ops.store.capabilities : plugin->ops.publisher.capabilities;
    if (plugin->desc.kind == OUTBOX_KIND_RULE || !capabilities)
        return OUTBOX_OK;
    guard_enter(instance, "capabilities", GUARD_QUICK_MS);
    instance->capabilities = capabilities(instance->self);
    guard_leave(instance, "capabilities");
    uint64_t unknown = instance->capabilities & OUTBOX_CRITICAL_CAPABILITIES & ~known;
    if (unknown == 0)
        return OUTBOX_OK;
    return outbox_fail(why, OUTBOX_E_CONFIG,
                       "%s-%s %s asks for what this host does not know (capabilities 0x%llx): "
                       "upgrade outboxd, or take an older version of the plugin",
                       descriptor_kind_prefix(plugin->desc.kind), plugin->desc.name,
                       plugin->desc.version, (unsigned long long)unknown);
}

static void close_plugin(struct instance *instance)
{
    guard_enter(instance, "close", OUTBOX_CLOSE_MS);
    instance->plugin->ops.publisher.close(instance->self);
    guard_leave(instance, "close");
    leave_shared(instance);
}

/* The plugin's own steps; the text of *why may be missing or not terminated. */
static int open_plugin(struct instance *instance, const struct instance_setup *setup,
                       struct outbox_err *why)
{
    const struct plugin *plugin = setup->plugin;
    int r = enter_shared(instance, setup, why);
    if (r == OUTBOX_OK) {
        guard_enter(instance, "open", GUARD_QUICK_MS);
        r = plugin->ops.publisher.open(&instance->abi, setup->cfg, &instance->self, why);
        guard_leave(instance, "open");
        if (r == OUTBOX_E_CANCELLED)
            guard_defect(instance, "open", why, "it returned OUTBOX_E_CANCELLED");
        if (r > 0 || (r == 0 && !instance->self)) {
            guard_defect(instance, "open", why, "it returned %d, and %s instance", r,
                         instance->self ? "an" : "no");
            r = OUTBOX_E_CONFIG;
        }
    }
    if (r < 0) {
        leave_shared(instance);
        return r;
    }
    r = read_capabilities(instance, why);
    if (r < 0)
        close_plugin(instance);
    return r;
}

/* What the plugin says, with the line of the file that is to blame. */
static int fail_open(const struct instance_setup *setup, int r, struct outbox_err *why,
                     struct outbox_err *err)
{
    char place[OPTIONS_PLACE_SIZE];
    why->text[sizeof why->text - 1] = '\0'; /* the plugin may have forgotten it */
    why->option[sizeof why->option - 1] = '\0';
    options_place(setup->cfg, why->option, place);
    outbox_fail_option(err, why->option, "%s%s: %s", place, setup->label,
                       why->text[0] ? why->text : "cannot be opened, without a reason");
    if (r != OUTBOX_E_CONFIG && r != OUTBOX_E_NOTSUP && r != OUTBOX_E_FULL)
        r = OUTBOX_E_RETRY; /* the others say something of a call, not of an opening */
    if (err)
        err->code = r;
    return r;
}

int instance_open(struct instance *instance, const struct instance_setup *setup,
                  struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    instance_init_host(instance, setup);
    int r = open_plugin(instance, setup, &why);
    if (r >= 0)
        return OUTBOX_OK;
    instance_destroy_host(instance);
    return fail_open(setup, r, &why, err);
}

void instance_close(struct instance *instance)
{
    if (!instance->plugin || !instance->self)
        return;
    close_plugin(instance);
    instance_destroy_host(instance);
}

const char *instance_plugin(const struct instance *instance, char buffer[INSTANCE_PLUGIN_SIZE])
{
    const struct outbox_plugin *desc = &instance->plugin->desc;
    snprintf(buffer, INSTANCE_PLUGIN_SIZE, "%s-%s", descriptor_kind_prefix(desc->kind), desc->name);
    return buffer;
}
