/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/kit.h"

#include "base/array.h"
#include "base/clock.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* The test that runs, and what its process tells this one. */
static struct {
    const struct kit_test *test;
    struct note {
        int n_skipped;
        char why[500];
    } * note;
    int output; /* what it writes to stdout and stderr */
} now;

void kit_add(const struct kit_sink *sink, const struct kit_test *like, const TTest *test, int from,
             int to, uint32_t flags)
{
    struct kit_test t = *like;
    t.test = test;
    t.name = t.name ? t.name : test->name;
    t.from = from;
    t.to = to;
    t.level = t.level ? t.level : sink->level;
    t.flags |= flags;
    sink->add(sink, &t);
}

/* ---- as a suite ---- */

static void add_to_suite(const struct kit_sink *sink, const struct kit_test *t)
{
    TCase *tc = tcase_create(t->name);
    if (t->set_up)
        tcase_add_checked_fixture(tc, t->set_up, t->tear_down);
    if (t->timeout_s)
        tcase_set_timeout(tc, t->timeout_s);
    tcase_add_loop_test(tc, t->test, t->from, t->to);
    suite_add_tcase(sink->ctx, tc);
}

struct kit_sink kit_suite(Suite *suite)
{
    return (struct kit_sink){.add = add_to_suite, .ctx = suite};
}

/* ---- as a table ---- */

static void add_to_table(const struct kit_sink *sink, const struct kit_test *t)
{
    struct kit_table *table = sink->ctx;
    struct kit_test *added = NULL;
    if (t->flags & KIT_OURS)
        return;
    if (!(added = array_add(&table->tests, &table->n, sizeof *added)))
        abort();
    *added = *t;
}

struct kit_sink kit_table(struct kit_table *table)
{
    return (struct kit_sink){.add = add_to_table, .ctx = table};
}

/* The plugin's output is not to be in ours; but this process's is, if the test runs in it. */
static void set_up(void)
{
    const char *forks = getenv("CK_FORK");
    if (!forks || strcmp(forks, "no") != 0) {
        dup2(now.output, STDOUT_FILENO);
        dup2(now.output, STDERR_FILENO);
    }
    if (now.test->set_up)
        now.test->set_up();
}

static void tear_down(void)
{
    if (now.test->tear_down)
        now.test->tear_down();
}

void kit_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (now.note) {
        now.note->n_skipped++;
        vsnprintf(now.note->why, sizeof now.note->why, fmt, ap);
        tear_down();
    }
    va_end(ap);
    exit(EXIT_SUCCESS); /* which Check takes for passed */
}

/* Why a test failed, with the end of what was written to stdout and stderr. */
static char *explain(TestResult *result)
{
    char written[600] = "", *text = NULL;
    off_t end = lseek(now.output, 0, SEEK_END);
    off_t from = end > (off_t)sizeof written - 1 ? end - (off_t)sizeof written + 1 : 0;
    if (pread(now.output, written, sizeof written - 1, from) < 0)
        written[0] = '\0';
    if (asprintf(&text, "%s%s%s", tr_msg(result),
                 written[0] ? "; written to stdout or stderr: " : "", written) < 0)
        abort();
    for (size_t n = strlen(text); n > 0 && text[n - 1] == '\n'; n--)
        text[n - 1] = '\0';
    return text;
}

static void judge(SRunner *runner, struct kit_result *ret)
{
    TestResult **results = srunner_results(runner);
    int n = srunner_ntests_run(runner);
    ret->outcome = now.note->n_skipped > 0 && now.note->n_skipped == n ? KIT_SKIPPED : KIT_PASSED;
    for (int i = 0; i < n && ret->outcome != KIT_FAILED; i++)
        if (tr_rtype(results[i]) != CK_PASS) {
            ret->outcome = KIT_FAILED;
            ret->text = explain(results[i]);
        }
    if (ret->outcome == KIT_SKIPPED && !(ret->text = strdup(now.note->why)))
        abort();
    free(results);
}

void kit_run(const struct kit_test *test, struct kit_result *ret)
{
    int64_t began = clock_monotonic_us();
    Suite *suite = suite_create(test->name);
    const struct kit_sink sink = kit_suite(suite);
    struct kit_test wrapped = *test;
    *ret = (struct kit_result){.test = test};
    now.test = test;
    now.note = kit_shared(sizeof *now.note);
    now.output = memfd_create("output", MFD_CLOEXEC);
    wrapped.set_up = set_up;
    wrapped.tear_down = tear_down;
    wrapped.timeout_s = test->timeout_s ? test->timeout_s : 60;
    sink.add(&sink, &wrapped);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    judge(runner, ret);
    srunner_free(runner);
    close(now.output);
    munmap(now.note, sizeof *now.note);
    now.note = NULL;
    ret->seconds = (double)(clock_monotonic_us() - began) / 1e6;
}

/* ---- what tests use ---- */

void *kit_shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

uint32_t kit_run_number(void)
{
    static uint32_t number;
    while (number == 0)
        if (getrandom(&number, sizeof number, 0) < 0)
            abort();
    return number;
}

int64_t now_ms(void)
{
    return clock_monotonic_us() / 1000;
}

void sleep_ms(int ms)
{
    poll(NULL, 0, ms);
}
