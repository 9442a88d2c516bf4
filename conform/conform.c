/* SPDX-License-Identifier: Apache-2.0 */
/* conform.c - outbox-conform: tells a good plugin from a bad one. */
#include "conform/arrive.h"
#include "conform/command.h"
#include "conform/course.h"
#include "conform/form.h"
#include "conform/kill.h"
#include "conform/life.h"
#include "conform/own_kind.h"
#include "conform/report.h"
#include "conform/rules.h"
#include "conform/soak.h"
#include "conform/target.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define DEFAULT_FILE "conform.ini"
#define DEFAULT_LEVEL 3

static const char usage[] =
    "usage: outbox-conform [-c FILE] [--level N] [--only NAME] [--junit FILE] PLUGIN.so\n"
    "       outbox-conform --list PLUGIN.so\n"
    "Tests a plugin of outboxd: store-NAME.so, pub-NAME.so or rule-NAME.so.\n"
    "  -c, --config FILE  the INI with the plugin's section and [conform] (" DEFAULT_FILE ")\n"
    "  --level N          1 form, 2 life and outcomes, 3 rules, 4 kills, 5 soak; with all below "
    "(3)\n"
    "  --only NAME        only this test; may be given several times\n"
    "  --junit FILE       writes the results there, too\n"
    "  --list             lists the tests\n"
    "  --help, --version\n"
    "The tests write to, and empty, what the INI points to. Exit code: 0 passed, 1 some failed, 2 "
    "not "
    "run. See outbox-conform(1).\n";

struct arguments {
    const char *file;
    const char *plugin;
    const char *junit;
    int level;
    bool list;
    const char *only[100];
    size_t n_only;
};

/* ---- arguments ---- */

static int wrong(const char *what, const char *value)
{
    fprintf(stderr, "outbox-conform: %s%s\n%s", what, value, usage);
    return EXIT_USAGE;
}

/* Returns -1 to go on, or the exit code. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"level", required_argument, NULL, 'l'},
        {"only", required_argument, NULL, 'o'},   {"junit", required_argument, NULL, 'j'},
        {"list", no_argument, NULL, 'L'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0}};
    *a = (struct arguments){.file = DEFAULT_FILE, .level = DEFAULT_LEVEL};
    for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (c == 'c')
            a->file = optarg;
        else if (c == 'l')
            a->level = strlen(optarg) == 1 ? *optarg - '0' : 0;
        else if (c == 'o' && a->n_only < sizeof a->only / sizeof a->only[0])
            a->only[a->n_only++] = optarg;
        else if (c == 'j')
            a->junit = optarg;
        else if (c == 'L')
            a->list = true;
        else if (c == 'h')
            return fputs(usage, stdout), EXIT_SUCCESS;
        else if (c == 'V')
            return puts("outbox-conform " PACKAGE_VERSION), EXIT_SUCCESS;
        else
            return EXIT_USAGE;
        if (c == 'l' && (a->level < 1 || a->level > REPORT_LEVELS))
            return wrong("--level is a number from 1 to 5, not ", optarg);
    }
    if (optind + 1 != argc)
        return wrong(optind < argc ? "one plugin at a time; too much: " : "name the plugin's file",
                     optind < argc ? argv[optind + 1] : "");
    a->plugin = argv[optind];
    return -1;
}

/* ---- the tests ---- */

static void add_tests(const struct setup *s, struct kit_table *table)
{
    struct kit_sink sink = kit_table(table);
    form_add(&sink);
    rules_add_gates(&sink, s->kind);
    form_add_opens(&sink);
    sink.level = 2;
    if (s->kind == OUTBOX_KIND_PUBLISHER) {
        publisher_contract_add(own_publisher(s), &sink);
        arrive_add(&sink);
    } else {
        life_add(&sink, s->kind);
    }
    if (s->kind == OUTBOX_KIND_STORE)
        store_contract_add(own_store(s), &sink);
    rules_add(&sink, s->kind);
    kill_add(&sink, s->kind);
    soak_add(&sink);
}

static bool is_wanted(const struct arguments *a, const struct kit_test *t)
{
    for (size_t i = 0; i < a->n_only; i++)
        if (strcmp(a->only[i], t->name) == 0)
            return true;
    return a->n_only == 0 && t->level <= a->level;
}

static int check_names(const struct arguments *a, const struct kit_table *table)
{
    for (size_t i = 0; i < a->n_only; i++) {
        bool found = false;
        for (size_t k = 0; k < table->n; k++)
            found |= strcmp(a->only[i], table->tests[k].name) == 0;
        if (!found)
            return wrong("--list has no test ", a->only[i]);
    }
    return -1;
}

/* Skips it if a gate has failed that says all that it could. */
static void run_one(const struct kit_test *t, const char *gate, struct kit_result *ret)
{
    if (!gate || (t->flags & KIT_ALWAYS)) {
        kit_run(t, ret);
        return;
    }
    *ret = (struct kit_result){.test = t, .outcome = KIT_SKIPPED};
    if (asprintf(&ret->text, "it could tell no more than %s", gate) < 0)
        abort();
}

static size_t run_all(const struct arguments *a, const struct kit_table *table,
                      struct report *report)
{
    const char *gate = NULL;
    size_t n = 0;
    for (size_t i = 0; i < table->n; i++)
        n += is_wanted(a, &table->tests[i]);
    report->results = calloc(n, sizeof *report->results);
    if (n > 0 && !report->results)
        abort();
    printf("TAP version 13\n1..%zu\n", n);
    for (size_t i = 0; i < table->n; i++) {
        struct kit_result *r = &report->results[report->n];
        if (!is_wanted(a, &table->tests[i]))
            continue;
        fflush(stdout);
        run_one(&table->tests[i], gate, r);
        report_tap(r, ++report->n);
        if (r->outcome == KIT_FAILED && (r->test->flags & KIT_GATE) && !gate)
            gate = r->test->name;
    }
    return report_summary(report);
}

/* ---- before them ---- */

static void tell(void *ctx, const char *file, int line, const char *text)
{
    (void)ctx;
    if (line > 0)
        fprintf(stderr, "%s:%d: %s\n", file, line, text);
    else
        fprintf(stderr, "%s: %s\n", file, text);
}

/* Are the plugin's options in order? In a process of its own, for the plugin may do anything; one
 * that is refused, or crashes, is what tests tell. */
static int probe(struct setup *s, const char *file)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct plugin *plugin;
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        struct plugin_set *set = plugin_set_new(s->dir);
        dup2(null, STDOUT_FILENO);
        alarm(30);
        if (!set || plugin_get(set, s->kind, s->name, &plugin, NULL) < 0)
            _exit(0);
        _exit(setup_read(s, file, true, tell, NULL) == OUTBOX_OK ? 0 : EXIT_USAGE);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        perror("outbox-conform");
        return EXIT_USAGE;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE ? EXIT_USAGE : -1;
}

static int list(const struct kit_table *table)
{
    for (int level = 1; level <= REPORT_LEVELS; level++)
        for (size_t i = 0; i < table->n; i++)
            if (table->tests[i].level == level)
                printf("%d %s\n", level, table->tests[i].name);
    return EXIT_SUCCESS;
}

static int run(const struct arguments *a, struct setup *s, const struct kit_table *table)
{
    char name[80];
    struct report report = {.plugin = name, .partial = a->n_only > 0};
    int code = check_names(a, table);
    if (code < 0)
        code = probe(s, a->file);
    if (code >= 0)
        return code;
    snprintf(name, sizeof name, "%s-%s", descriptor_kind_prefix(s->kind), s->name);
    command_begin();
    course_begin();
    kill_begin();
    soak_begin();
    (void)kit_run_number(); /* one for all processes */
    code = run_all(a, table, &report) > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (a->junit && report_junit(&report, a->junit) < 0) {
        fprintf(stderr, "outbox-conform: %s: %m\n", a->junit);
        code = EXIT_USAGE;
    }
    for (size_t i = 0; i < report.n; i++)
        free(report.results[i].text);
    free(report.results);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const foreign[] = {"CK_RUN_SUITE", "CK_RUN_CASE", "CK_INCLUDE_TAGS",
                                          "CK_EXCLUDE_TAGS"};
    struct outbox_err err = {.size = sizeof err};
    struct arguments a;
    struct setup s = {0};
    struct kit_table table = {0};
    int code = read_arguments(argc, argv, &a);
    if (code >= 0)
        return code;
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        unsetenv(foreign[i]); /* they choose tests of Check */
    if (setup_plugin(&s, a.plugin, &err) < 0) {
        fprintf(stderr, "outbox-conform: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (!a.list && setup_read(&s, a.file, false, tell, NULL) < 0)
        return EXIT_USAGE;
    target_use(&s, a.file);
    add_tests(&s, &table);
    code = a.list ? list(&table) : run(&a, &s, &table);
    free(table.tests);
    return code;
}
