/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each publisher of tests/fixtures/wrong is told to break the rule that is its name, and no other.
 * Each runs in a process of its own, which writes the rules that it hears of to a pipe.
 */
#include "plugin/checked.h"
#include "plugin/instance.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define N 3
#define LONG_MS 20000
#define SHORT_MS 300

static const struct plugin *checked;
static int to_parent;
static bool cancelled;

/* ---- in the child ---- */

static void heard(void *ctx, const char *instance, const char *operation, const char *rule,
                  const char *what)
{
    char line[128];
    (void)ctx;
    (void)what;
    int n = snprintf(line, sizeof line, "%s\n", rule);
    if (strcmp(instance, "publisher test") != 0 || !operation ||
        write(to_parent, line, (size_t)n) != n)
        abort();
}

static bool is_cancelled(void *ctx)
{
    (void)ctx;
    return cancelled;
}

/* A fault ends the process; the layer knows whose rule that address stands for. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    const char *rule = checked_rule_at(checked, info->si_addr);
    (void)context;
    if (number == SIGABRT) {
        const char *operation = checked_operation(checked);
        rule = operation && strcmp(operation, "close") == 0 ? "crashes-in-close" : "abort";
    }
    if (!rule)
        rule = "fault";
    if (write(to_parent, rule, strlen(rule)) < 0)
        _exit(2);
    _exit(write(to_parent, "\n", 1) == 1 ? 0 : 2);
}

static void prepare(void)
{
    sigset_t all;
    const struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (int fd = 1; fd <= 2; fd++) {
        int file = memfd_create("printed", MFD_CLOEXEC);
        dup2(file, fd);
        close(file);
    }
}

static const struct plugin *load(const char *folder, const char *file)
{
    static struct plugin plugin;
    char path[4096];
    dso_symbol_fn entry = NULL;
    const struct plugin *wrapper;
    const struct checker checker = {
        .report = heard, .is_cancelled = is_cancelled, .flags = CHECKER_ALONE};
    snprintf(path, sizeof path, "%s/%s.so", folder, file);
    if (dso_symbol(path, OUTBOX_PLUGIN_SYMBOL, &entry, NULL) < 0 || !entry ||
        descriptor_negotiate(((outbox_plugin_fn)entry)(), 0, NULL, &plugin, NULL) < 0 ||
        checked_plugin_new(&plugin, &checker, &wrapper) < 0)
        abort();
    return wrapper;
}

static struct outbox_message message(const char *id)
{
    static const struct outbox_header headers[] = {{{"n", 1}, {"v", 1}}};
    return (struct outbox_message){.size = sizeof(struct outbox_message),
                                   .seq = 1,
                                   .id = outbox_cstr(id),
                                   .topic = outbox_cstr("t"),
                                   .key = outbox_cstr(""),
                                   .payload = outbox_cstr("hello, world"),
                                   .headers = headers,
                                   .n_headers = 1,
                                   .row_id = outbox_cstr(id)};
}

static void publish(const struct instance *instance, uint32_t ms, int cancel_fd)
{
    struct outbox_message msgs[N] = {message("a"), message("b"), message("c")};
    const struct outbox_message *msg_ptrs[N];
    struct outbox_outcome outcomes[N], *outcome_ptrs[N];
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_call call = {.size = sizeof call, .timeout_ms = ms, .cancel_fd = cancel_fd};
    for (size_t i = 0; i < N; i++) {
        outcomes[i] = (struct outbox_outcome){.size = sizeof outcomes[i]};
        msg_ptrs[i] = &msgs[i];
        outcome_ptrs[i] = &outcomes[i];
    }
    checked->ops.publisher.publish(instance->self, msg_ptrs, N, &call, outcome_ptrs, &err);
    for (size_t i = 0; i < N; i++) /* reasons are readable for the host, whatever they were */
        if (outcomes[i].reason.p && strnlen(outcomes[i].reason.p, outcomes[i].reason.n) > 1000)
            abort();
}

/* Two batches with time, one with little, one that is cancelled; and all that twice. */
static void course(const char *option, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_call call = {.size = sizeof call, .timeout_ms = LONG_MS, .cancel_fd = -1};
    struct outbox_cfg *cfg = options_new(checked);
    if (options_set(cfg, option, value, &err) < 0)
        abort();
    const struct instance_setup setup = {.plugin = checked, .cfg = cfg, .label = "publisher test"};
    for (int life = 0; life < 2; life++) {
        struct instance instance = {.self = NULL};
        int cancel_fd = eventfd(0, EFD_CLOEXEC);
        cancelled = false;
        if (instance_open(&instance, &setup, &err) == OUTBOX_OK) {
            checked->ops.publisher.check(instance.self, &call, &err);
            publish(&instance, LONG_MS, cancel_fd);
            publish(&instance, LONG_MS, -1);
            publish(&instance, SHORT_MS, cancel_fd);
            cancelled = eventfd_write(cancel_fd, 1) == 0;
            publish(&instance, LONG_MS, cancel_fd);
            instance_close(&instance);
        }
        close(cancel_fd);
    }
    options_free(cfg);
    checked_plugin_free(checked);
}

/* ---- in the test ---- */

/* The rules that were told, each once, with blanks between. */
static const char *told(const char *folder, const char *file, const char *option, const char *value)
{
    static char rules[1024];
    char line[128];
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        to_parent = ends[1];
        close(ends[0]);
        prepare();
        checked = load(folder, file);
        course(option, value);
        _exit(0);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    rules[0] = '\0';
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strstr(rules, line))
            continue;
        snprintf(rules + strlen(rules), sizeof rules - strlen(rules), "%s%s", rules[0] ? " " : "",
                 line);
    }
    fclose(f);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (status != 0)
        snprintf(rules + strlen(rules), sizeof rules - strlen(rules), " status %d", status);
    return rules;
}

/* A sanitizer sees the faults, what was on the stack, and threads that nobody waits for, itself and
 * first. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const struct {
    const char *rule;
    bool for_sanitizers;
} wrong[] = {
    {"borrowed-memory", true},
    {"cancelled-unasked", false},
    {"changes-messages", false},
    {"closes-cancel-fd", false},
    {"crashes-in-close", true},
    {"directory", false},
    {"environment", false},
    {"error-text", false},
    {"late-return", false},
    {"leaks-descriptors", false},
    {"leaks-threads", false},
    {"locale", false},
    {"logs-after-close", true},
    {"outcome-number", false},
    {"reads-cancel-fd", false},
    {"reads-past", true},
    {"reason-memory", true},
    {"result-positive", false},
    {"signal-handler", false},
    {"signal-mask", false},
    {"slow-close", false},
    {"slow-open", false},
    {"umask", false},
    {"unset-ret", false},
    {"writes-beyond", false},
    {"writes-stderr", false},
    {"writes-stdout", false},
};

static char fixtures[4000], path[64];

static void set_up(void)
{
    snprintf(fixtures, sizeof fixtures, "%s/tests/fixtures/wrong", getenv("OUTBOX_TEST_BUILDDIR"));
    snprintf(path, sizeof path, "/tmp/test_checked.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void tear_down(void)
{
    unlink(path);
}

START_TEST(a_wrong_plugin_is_told_by_its_rule)
{
    char file[64];
    if (SANITIZED && wrong[_i].for_sanitizers)
        return;
    snprintf(file, sizeof file, "pub-%s", wrong[_i].rule);
    ck_assert_str_eq(told(fixtures, file, "path", path), wrong[_i].rule);
}
END_TEST

START_TEST(a_sound_plugin_is_not_told)
{
    ck_assert_str_eq(told(fixtures, "pub-sound", "path", path), "");
    ck_assert_str_eq(told(fixtures, "pub-accepts-without-publishing", "path", path), "");
}
END_TEST

START_TEST(our_own_is_not_told)
{
    ck_assert_str_eq(told(getenv("OUTBOX_TEST_PLUGIN_DIR"), "pub-exec", "command", "/bin/true"),
                     "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checked");
    TCase *tc = tcase_create("wrong publishers");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, a_wrong_plugin_is_told_by_its_rule, 0, sizeof wrong / sizeof wrong[0]);
    tcase_add_test(tc, a_sound_plugin_is_not_told);
    tcase_add_test(tc, our_own_is_not_told);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
