/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/publisher_contract.h"

#include "plugin/shared_state.h"

#include <outbox/helpers.h>

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct publisher_kind *kind;
static struct log *the_log;
static struct shared_state *the_shared; /* of the case's instances; NULL: each has its own */

void publisher_use(const struct publisher_kind *of)
{
    kind = of;
}

const struct publisher_kind *publisher_kind(void)
{
    return kind;
}

/* ---- what cases use ---- */

/* What a case made, freed behind it, the last first. Several threads may make things. */
static struct {
    pthread_mutex_t lock;
    struct {
        void *thing;
        void (*free)(void *);
    } things[4096];
    size_t n;
} made = {.lock = PTHREAD_MUTEX_INITIALIZER};

void *mine(void *thing, void (*free_thing)(void *))
{
    pthread_mutex_lock(&made.lock);
    ck_assert_uint_lt(made.n, sizeof made.things / sizeof made.things[0]);
    made.things[made.n].thing = thing;
    made.things[made.n++].free = free_thing;
    pthread_mutex_unlock(&made.lock);
    return thing;
}

void free_made(void)
{
    while (made.n > 0) {
        made.n--;
        made.things[made.n].free(made.things[made.n].thing);
    }
}

static void free_shared(void *shared)
{
    shared_state_free(shared);
    the_shared = NULL;
}

void share_instances(void)
{
    the_shared = mine(shared_state_new(), free_shared);
}

static void free_set(void *set)
{
    plugin_set_free(set);
}

static void free_options(void *cfg)
{
    options_free(cfg);
}

static void free_batch(void *b)
{
    batch_free(b);
}

static const struct plugin *the_plugin(void)
{
    static const struct outbox_cfg *unused;
    if (kind->module)
        return kind->module(&unused);
    struct outbox_err err = {.size = sizeof err};
    struct plugin_set *set = mine(plugin_set_new(getenv("OUTBOX_TEST_PLUGIN_DIR")), free_set);
    const struct plugin *plugin = NULL;
    if (plugin_get(set, OUTBOX_KIND_PUBLISHER, kind->plugin, &plugin, &err) < 0)
        ck_abort_msg("%s", err.text);
    return plugin;
}

static struct instance *open_with(const struct outbox_cfg *cfg, const struct plugin *plugin)
{
    struct outbox_err err = {.size = sizeof err};
    struct instance *instance = mine(calloc(1, sizeof *instance), free);
    const struct instance_setup setup = {.plugin = plugin,
                                         .cfg = cfg,
                                         .label = "publisher test",
                                         .log = the_log,
                                         .shared = the_shared,
                                         .publish_ms = kind->publish_ms};
    if (instance_open(instance, &setup, &err) < 0)
        ck_abort_msg("%s", err.text);
    return instance;
}

struct instance *a_slow_publisher(void)
{
    const struct plugin *plugin = the_plugin();
    struct outbox_cfg *cfg = mine(options_new(plugin), free_options);
    kind->configure_slow(cfg);
    return open_with(cfg, plugin);
}

static struct outbox_cfg *options_with(const struct plugin *plugin, const char *name, va_list ap)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_cfg *cfg = mine(options_new(plugin), free_options);
    kind->configure(cfg);
    for (; name; name = va_arg(ap, const char *))
        if (options_set(cfg, name, va_arg(ap, const char *), &err) < 0)
            ck_abort_msg("%s: %s", name, err.text);
    return cfg;
}

struct instance *a_publisher(const char *name, ...)
{
    const struct outbox_cfg *as_it_is = NULL;
    const struct plugin *plugin = kind->module ? kind->module(&as_it_is) : the_plugin();
    va_list ap;
    if (as_it_is)
        return open_with(as_it_is, plugin);
    va_start(ap, name);
    struct outbox_cfg *cfg = options_with(plugin, name, ap);
    va_end(ap);
    return open_with(cfg, plugin);
}

static const struct plugin *section_plugin;

struct outbox_cfg *a_section(const char *name, ...)
{
    va_list ap;
    section_plugin = the_plugin();
    va_start(ap, name);
    struct outbox_cfg *cfg = options_with(section_plugin, name, ap);
    va_end(ap);
    return cfg;
}

struct instance *another_publisher(const struct outbox_cfg *section)
{
    return open_with(section, section_plugin);
}

const char *a_mistake(const char *name, ...)
{
    static struct outbox_err err;
    const struct plugin *plugin = the_plugin();
    struct instance *instance = mine(calloc(1, sizeof *instance), free);
    va_list ap;
    va_start(ap, name);
    struct outbox_cfg *cfg = options_with(plugin, name, ap);
    va_end(ap);
    err = (struct outbox_err){.size = sizeof err};
    const struct instance_setup setup = {
        .plugin = plugin, .cfg = cfg, .label = "publisher test", .log = the_log};
    ck_assert_int_eq(instance_open(instance, &setup, &err), OUTBOX_E_CONFIG);
    return err.text;
}

static void free_log(void *log)
{
    log_free(log);
    the_log = NULL;
}

void publisher_logs_to(int fd)
{
    the_log = mine(log_new(fd, OUTBOX_LOG_DEBUG, LOG_LOGFMT), free_log);
}

void close_publisher(struct instance *instance)
{
    instance_close(instance);
}

int publish_all(struct instance *instance, struct batch *b)
{
    const struct outbox_call call = {sizeof call, kind->publish_ms ? kind->publish_ms : 60000, -1,
                                     200};
    return batch_publish_all(b, instance, &call);
}

struct batch *a_batch(const char *prefix, uint64_t n, const char *payload)
{
    struct batch *b = mine(batch_new(n), free_batch);
    for (uint64_t i = 0; i < n; i++) {
        char id[64];
        snprintf(id, sizeof id, "%s-%llu", prefix, (unsigned long long)i + 1);
        b->msgs[i].id = b->msgs[i].row_id = batch_copy(b, id, strlen(id));
        b->msgs[i].payload = batch_copy(b, payload, payload ? strlen(payload) : 0);
    }
    return b;
}

int publish(struct instance *instance, struct batch *b, uint32_t timeout_ms, int cancel_fd)
{
    const struct outbox_call call = {sizeof call, timeout_ms, cancel_fd, 200};
    return batch_publish(b, instance, &call);
}

void assert_verdicts(const struct batch *b, uint32_t verdict)
{
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_msg(b->outcomes[i].verdict == verdict, "message %llu: verdict %u, %s",
                      (unsigned long long)i, b->outcomes[i].verdict, reason(b, i));
}

const char *reason(const struct batch *b, uint64_t i)
{
    static char text[8192];
    struct outbox_str why = b->outcomes[i].reason;
    snprintf(text, sizeof text, "%.*s", (int)why.n, why.p ? why.p : "");
    return text;
}

int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

int count_children(void)
{
    char path[64], text[4096] = "";
    int n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    for (size_t i = 0, got = fread(text, 1, sizeof text - 1, f); i < got; i++)
        n += text[i] == ' ';
    fclose(f);
    return n;
}
