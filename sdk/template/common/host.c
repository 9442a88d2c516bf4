/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - a host in one file, for gdb, valgrind and sanitizers: linked with the plugin's source
 * into one program, it opens one instance, hands it the lines of stdin as payloads, and prints what
 * becomes of them. `make try` builds it:
 *
 *     ./try NAME=VALUE ...        options of the plugin; numbers, ms and bytes are written as
 * digits
 */
#define _DEFAULT_SOURCE
#include <outbox/plugin.h>

#include <stdbool.h>
#include <sys/time.h>
#include <time.h>

struct outbox_cfg {
    int n;
    char **settings; /* NAME=VALUE */
};

static bool is_setting_of(const char *setting, const char *name)
{
    size_t n = strlen(name);
    return strncmp(setting, name, n) == 0 && setting[n] == '=';
}

static const struct outbox_option *find_option(const char *name)
{
    const struct outbox_plugin *plugin = outbox_plugin_v1();
    for (uint64_t i = 0; i < plugin->n_options; i++)
        if (strcmp(plugin->options[i].name, name) == 0)
            return &plugin->options[i];
    return NULL;
}

static const char *value_of(const struct outbox_cfg *cfg, const char *name, bool *ret_set)
{
    const struct outbox_option *option = find_option(name);
    *ret_set = true;
    for (int i = 0; i < cfg->n; i++)
        if (is_setting_of(cfg->settings[i], name))
            return cfg->settings[i] + strlen(name) + 1;
    *ret_set = false;
    return option ? option->deflt : NULL;
}

static struct outbox_str option_text(const struct outbox_cfg *cfg, const char *name)
{
    bool set;
    return outbox_cstr(value_of(cfg, name, &set));
}

/* Of the plugin's defaults it knows the units of times. */
static int64_t option_int(const struct outbox_cfg *cfg, const char *name)
{
    char *unit = NULL;
    const char *text = option_text(cfg, name).p;
    int64_t n = text ? strtoll(text, &unit, 10) : 0;
    if (!text || strcmp(text, "no") == 0)
        return 0;
    if (strcmp(text, "never") == 0)
        return OUTBOX_NEVER;
    if (strcmp(text, "yes") == 0)
        return 1;
    return n * (*unit == 's' ? 1000 : strcmp(unit, "m") == 0 ? 60000 : *unit == 'h' ? 3600000 : 1);
}

/* A list has one item here. */
static uint64_t option_count(const struct outbox_cfg *cfg, const char *name)
{
    return option_text(cfg, name).p ? 1 : 0;
}

static struct outbox_str option_item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    return index == 0 ? option_text(cfg, name) : outbox_cstr(NULL);
}

static struct outbox_str option_key(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    (void)cfg;
    (void)name;
    (void)index;
    return outbox_cstr(NULL);
}

static int32_t option_is_set(const struct outbox_cfg *cfg, const char *name)
{
    bool set;
    value_of(cfg, name, &set);
    return set;
}

static int option_read(const struct outbox_cfg *cfg, const char *name, char *buf, uint64_t cap,
                       uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_str value = option_text(cfg, name);
    if (!value.p || value.n >= cap)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s is not set, or too long", name);
    memcpy(buf, value.p, (size_t)value.n + 1);
    *ret_n = value.n;
    return OUTBOX_OK;
}

static void log_line(const struct outbox_host *host, int32_t level, const char *text, uint64_t n)
{
    fprintf(stderr, "log %d %s: %.*s\n", level, host->instance, (int)n, text);
}

static int64_t now_us(const struct outbox_host *host)
{
    struct timeval tv;
    (void)host;
    gettimeofday(&tv, NULL);
    return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

static int64_t monotonic_us(const struct outbox_host *host)
{
    struct timespec ts;
    (void)host;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void count(const struct outbox_host *host, const char *name, int64_t delta)
{
    fprintf(stderr, "count %s: %s %+lld\n", host->instance, name, (long long)delta);
}

static const void *extension(const struct outbox_host *host, const char *id)
{
    (void)host;
    (void)id;
    return NULL;
}

static int failed(const char *what, const struct outbox_err *err)
{
    printf("%s: %d %s%s%s\n", what, err->code, err->text, err->option[0] ? " - option " : "",
           err->option);
    return 1;
}

/* ---- what is done with a message ---- */

static int publish(void *instance, const struct outbox_message *msg, struct outbox_err *err)
{
    static const char *const verdicts[] = {"unset", "accepted", "retry",
                                           "later", "rejected", "unavailable"};
    const struct outbox_publisher_ops *ops = outbox_plugin_v1()->ops;
    struct outbox_call call = {sizeof call, 15000, -1, 1000};
    struct outbox_outcome outcome = {.size = sizeof outcome};
    struct outbox_outcome *outcomes[] = {&outcome}, *const * got;
    uint64_t n = 0;
    int r = ops->publish ? ops->publish(instance, &msg, 1, &call, outcomes, err)
                         : ops->submit(instance, &msg, 1, &call, outcomes, &n, err);
    while (!ops->publish && r == OUTBOX_OK && n == 1)
        if ((r = ops->collect(instance, &call, &got, &n, err)) == OUTBOX_OK && n == 1)
            break;
    printf("%s %.*s\n", verdicts[outcome.verdict <= OUTBOX_UNAVAILABLE ? outcome.verdict : 0],
           (int)outcome.reason.n, outcome.reason.p ? outcome.reason.p : "");
    return r < 0 ? failed("publish", err) : 0;
}

static int route(void *instance, const struct outbox_message *msg, struct outbox_err *err)
{
    const struct outbox_rule_ops *ops = outbox_plugin_v1()->ops;
    struct outbox_decision decision = {.size = sizeof decision};
    if (ops->route(instance, msg, &decision, err) < 0)
        return failed("route", err);
    for (uint64_t i = 0; i < decision.n; i++)
        printf("%s\n", decision.publishers[i]);
    if (decision.n == 0)
        puts("the next route decides");
    return 0;
}

/* A store has no messages yet: one is written and claimed. */
static int store(void *instance, struct outbox_str payload, struct outbox_err *err)
{
    const struct outbox_store_ops *ops = outbox_plugin_v1()->ops;
    struct outbox_call call = {sizeof call, 15000, -1, 1000};
    struct outbox_claim claim = {.size = sizeof claim, .limit = 10, .lease_ms = 30000};
    struct outbox_new row = {.size = sizeof row, .topic = outbox_cstr("try")};
    const struct outbox_new *rows[] = {&row};
    struct outbox_batch *batch;
    claim.max_bytes = claim.max_message = 1 << 24;
    row.payload = payload;
    if (ops->save && ops->save(instance, rows, 1, NULL, &call, err) < 0)
        return failed("save", err);
    if (ops->claim(instance, &claim, &call, &batch, err) < 0)
        return failed("claim", err);
    printf("claimed %u\n", batch->n);
    return ops->release(instance, batch, &call, err) < 0 ? failed("release", err) : 0;
}

static int serve(uint32_t kind, void *instance, struct outbox_err *err)
{
    char line[4096], id[32];
    int64_t seq = 1;
    int result = 0;
    while (fgets(line, sizeof line, stdin)) {
        struct outbox_message msg = {.size = sizeof msg};
        msg.seq = seq++;
        line[strcspn(line, "\n")] = '\0';
        snprintf(id, sizeof id, "try-%lld", (long long)msg.seq);
        msg.id = msg.row_id = outbox_cstr(id);
        msg.topic = outbox_cstr("try");
        msg.key = outbox_cstr("");
        msg.payload = outbox_cstr(line);
        result |= kind == OUTBOX_KIND_PUBLISHER ? publish(instance, &msg, err)
                  : kind == OUTBOX_KIND_RULE    ? route(instance, &msg, err)
                                                : store(instance, msg.payload, err);
    }
    return result;
}

/* What outboxd refuses before it opens an instance. */
static bool check_settings(const struct outbox_cfg *cfg)
{
    const struct outbox_plugin *plugin = outbox_plugin_v1();
    bool right = true, set;
    for (int i = 0; i < cfg->n; i++) {
        bool known = false;
        for (uint64_t k = 0; k < plugin->n_options; k++)
            known |= is_setting_of(cfg->settings[i], plugin->options[k].name) ||
                     plugin->options[k].type == OUTBOX_OPT_PREFIX;
        if (!known)
            printf("%s: no option of this plugin, or no NAME=VALUE\n", cfg->settings[i]);
        right &= known;
    }
    for (uint64_t k = 0; k < plugin->n_options; k++)
        if ((plugin->options[k].flags & OUTBOX_OPT_REQUIRED) &&
            !value_of(cfg, plugin->options[k].name, &set)) {
            printf("%s=VALUE is required\n", plugin->options[k].name);
            right = false;
        }
    return right;
}

int main(int argc, char **argv)
{
    const struct outbox_plugin *plugin = outbox_plugin_v1();
    const struct outbox_rule_ops *ops = plugin->ops; /* open and close are the same in all kinds */
    struct outbox_cfg cfg = {argc - 1, argv + 1};
    struct outbox_err err = {.size = sizeof err};
    void *instance = NULL, *shared = NULL;
    int result;
    struct outbox_host host = {
        .size = sizeof host,
        .minor = OUTBOX_ABI_MINOR,
        .version = "try",
        .instance = "try",
        .log = log_line,
        .now_us = now_us,
        .monotonic_us = monotonic_us,
        .count = count,
        .option_text = option_text,
        .option_int = option_int,
        .option_count = option_count,
        .option_item = option_item,
        .extension = extension,
        .option_read = option_read,
        .option_is_set = option_is_set,
        .option_key = option_key,
    };
    if (!check_settings(&cfg))
        return 2;
    if (plugin->shared_open && plugin->shared_open(&host, &cfg, &shared, &err) < 0)
        return failed("shared_open", &err);
    host.shared = shared;
    result = ops->open(&host, &cfg, &instance, &err) < 0 ? failed("open", &err)
                                                         : serve(plugin->kind, instance, &err);
    ops->close(instance);
    if (plugin->shared_close)
        plugin->shared_close(shared);
    return result;
}
