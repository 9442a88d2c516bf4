/* SPDX-License-Identifier: Apache-2.0 */
#include "publisher_contract.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const struct publisher_kind *kind;
static struct log *the_log;

void publisher_use(const struct publisher_kind *of)
{
    kind = of;
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

static void free_set(void *set)
{
    plugin_set_free(set);
}

static void free_options(void *cfg)
{
    options_free(cfg);
}

static void *zeroed(size_t n, size_t size)
{
    return mine(calloc(n, size), free);
}

static const struct plugin *the_plugin(void)
{
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
    struct instance *instance = zeroed(1, sizeof *instance);
    const struct instance_setup setup = {
        .plugin = plugin, .cfg = cfg, .label = "publisher test", .log = the_log};
    if (instance_open(instance, &setup, &err) < 0)
        ck_abort_msg("%s", err.text);
    return instance;
}

static struct instance *a_slow_publisher(void)
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
    const struct plugin *plugin = the_plugin();
    va_list ap;
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

struct instance *an_instance(const struct outbox_cfg *section)
{
    return open_with(section, section_plugin);
}

const char *a_mistake(const char *name, ...)
{
    static struct outbox_err err;
    const struct plugin *plugin = the_plugin();
    struct instance *instance = zeroed(1, sizeof *instance);
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

struct batch *a_batch(const char *prefix, uint64_t n, const char *payload)
{
    struct batch *b = zeroed(1, sizeof *b);
    b->n = n;
    b->msgs = zeroed(n + 1, sizeof *b->msgs);
    b->msg_ptrs = zeroed(n + 1, sizeof *b->msg_ptrs);
    b->outcomes = zeroed(n + 1, sizeof *b->outcomes);
    b->outcome_ptrs = zeroed(n + 1, sizeof *b->outcome_ptrs);
    for (uint64_t i = 0; i < n; i++) {
        char *id = NULL;
        ck_assert_int_gt(asprintf(&id, "%s-%llu", prefix, (unsigned long long)i + 1), 0);
        mine(id, free);
        b->msgs[i] = (struct outbox_message){.size = sizeof b->msgs[i],
                                             .seq = (int64_t)i + 1,
                                             .created_us = 1,
                                             .id = outbox_cstr(id),
                                             .row_id = outbox_cstr(id),
                                             .topic = outbox_cstr("topic"),
                                             .key = outbox_cstr(""),
                                             .payload = outbox_cstr(payload)};
        b->msg_ptrs[i] = &b->msgs[i];
        b->outcome_ptrs[i] = &b->outcomes[i];
    }
    return b;
}

int publish(struct instance *instance, struct batch *b, uint32_t timeout_ms, int cancel_fd)
{
    struct outbox_call call = {sizeof call, timeout_ms, cancel_fd, 200};
    for (uint64_t i = 0; i < b->n; i++)
        b->outcomes[i] = (struct outbox_outcome){.size = sizeof b->outcomes[i]};
    b->err = (struct outbox_err){.size = sizeof b->err};
    return instance->plugin->ops.publisher.publish(instance->self, b->msg_ptrs, b->n, &call,
                                                   b->outcome_ptrs, &b->err);
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

int64_t now_ms(void)
{
    return clock_monotonic_us() / 1000;
}

/* ---- the cases ---- */

START_TEST(opening_and_closing_does_nothing)
{
    int fds = 0;
    for (int i = 0; i < 3; i++) {
        close_publisher(a_publisher(NULL));
        fds = i == 0 ? count_fds() : fds;
    }
    ck_assert_int_eq(count_fds(), fds);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

START_TEST(closing_nothing_is_allowed)
{
    struct instance *instance = a_publisher(NULL);
    instance->plugin->ops.publisher.close(NULL);
    close_publisher(instance);
}
END_TEST

static const int sizes[] = {0, 1, 2, 300};

START_TEST(accepted_messages_have_arrived_once)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", (uint64_t)sizes[_i], "x");
    ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_int_eq(kind->arrived(b->msgs[i].id.p), 1);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

START_TEST(it_can_be_called_again_and_leaves_nothing_behind)
{
    struct instance *instance = a_publisher(NULL);
    int fds = 0;
    for (int round = 0; round < 20; round++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "r%d", round);
        struct batch *b = a_batch(prefix, 3, "x");
        ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
        assert_verdicts(b, OUTBOX_ACCEPTED);
        if (round == 0)
            fds = count_fds();
    }
    ck_assert_int_eq(count_fds(), fds);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

START_TEST(a_deadline_is_kept_and_what_is_unknown_stays_unset)
{
    struct instance *instance = a_slow_publisher();
    struct batch *b = a_batch("slow", 50, "x");
    int64_t began = now_ms();
    publish(instance, b, 1500, -1);
    ck_assert_int_lt(now_ms() - began, 10000);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

static void *call_back_soon(void *fd)
{
    uint64_t one = 1;
    usleep(300000);
    if (write(*(int *)fd, &one, sizeof one) < 0)
        abort();
    return NULL;
}

START_TEST(it_comes_back_when_called_back)
{
    struct instance *instance = a_slow_publisher();
    struct batch *b = a_batch("back", 50, "x");
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);
    int64_t began = now_ms();
    ck_assert_int_eq(pthread_create(&thread, NULL, call_back_soon, &fd), 0);
    ck_assert_int_eq(publish(instance, b, 60000, fd), OUTBOX_E_CANCELLED);
    ck_assert_int_lt(now_ms() - began, 10000);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    pthread_join(thread, NULL);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

static void *publish_alone(void *prefix)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch(prefix, 40, "x");
    int r = publish(instance, b, 60000, -1);
    for (uint64_t i = 0; i < b->n; i++)
        if (b->outcomes[i].verdict != OUTBOX_ACCEPTED)
            r = -1;
    close_publisher(instance);
    return r < 0 ? prefix : NULL;
}

START_TEST(instances_work_side_by_side)
{
    static char prefixes[4][8] = {"ta", "tb", "tc", "td"};
    pthread_t threads[4];
    void *failed = NULL;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_alone, prefixes[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        failed = one ? one : failed;
    }
    ck_assert_ptr_null(failed);
    ck_assert_int_eq(kind->arrived("tc-40"), 1);
}
END_TEST

START_TEST(signals_stay_as_the_host_has_them)
{
    sigset_t before, after;
    struct sigaction pipe_before, pipe_after, child_before, child_after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    sigaction(SIGPIPE, NULL, &pipe_before);
    sigaction(SIGCHLD, NULL, &child_before);
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("s", 3, "x");
    publish(instance, b, 60000, -1);
    close_publisher(instance);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    sigaction(SIGPIPE, NULL, &pipe_after);
    sigaction(SIGCHLD, NULL, &child_after);
    for (int i = 1; i < 32; i++)
        ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
    ck_assert(pipe_before.sa_handler == pipe_after.sa_handler);
    ck_assert(child_before.sa_handler == child_after.sa_handler);
}
END_TEST

static void set_up(void)
{
    kind->set_up();
}

static void tear_down(void)
{
    free_made();
    kind->tear_down();
}

Suite *publisher_contract(const struct publisher_kind *of)
{
    kind = of;
    Suite *suite = suite_create(of->plugin);
    TCase *tc = tcase_create("publisher contract");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, opening_and_closing_does_nothing);
    tcase_add_test(tc, closing_nothing_is_allowed);
    tcase_add_loop_test(tc, accepted_messages_have_arrived_once, 0, 4);
    tcase_add_test(tc, it_can_be_called_again_and_leaves_nothing_behind);
    tcase_add_test(tc, a_deadline_is_kept_and_what_is_unknown_stays_unset);
    tcase_add_test(tc, it_comes_back_when_called_back);
    tcase_add_test(tc, instances_work_side_by_side);
    tcase_add_test(tc, signals_stay_as_the_host_has_them);
    suite_add_tcase(suite, tc);
    return suite;
}
