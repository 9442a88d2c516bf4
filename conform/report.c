/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/report.h"

#include <outbox/abi.h>

#include <stdio.h>
#include <string.h>

/* One line, as TAP wants it. */
static void print_text(const char *text)
{
    for (; *text; text++)
        putchar(*text == '\n' || *text == '\r' ? ' ' : *text);
}

void report_tap(const struct kit_result *r, size_t number)
{
    printf("%s %zu - level %d: %s", r->outcome == KIT_FAILED ? "not ok" : "ok", number,
           r->test->level, r->test->name);
    if (r->outcome == KIT_SKIPPED) {
        printf(" # SKIP ");
        print_text(r->text);
    } else if (r->outcome == KIT_FAILED) {
        printf("\n# ");
        print_text(r->text);
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- the summary ---- */

static size_t count(const struct report *report, int level, int outcome)
{
    size_t n = 0;
    for (size_t i = 0; i < report->n; i++)
        n += report->results[i].test->level == level &&
             (outcome < 0 || report->results[i].outcome == (enum kit_outcome)outcome);
    return n;
}

static void print_failed(const struct report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        const struct kit_result *r = &report->results[i];
        if (r->outcome != KIT_FAILED)
            continue;
        printf("# FAILED %s: ", r->test->name);
        print_text(r->text);
        putchar('\n');
    }
}

/* Was one skipped for this reason before? */
static bool is_told(const struct report *report, size_t of)
{
    for (size_t i = 0; i < of; i++)
        if (report->results[i].outcome == KIT_SKIPPED &&
            strcmp(report->results[i].text, report->results[of].text) == 0)
            return true;
    return false;
}

/* Each reason once. */
static void print_skipped(const struct report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        size_t n = 0;
        if (report->results[i].outcome != KIT_SKIPPED || is_told(report, i))
            continue;
        for (size_t k = i + 1; k < report->n; k++)
            n += report->results[k].outcome == KIT_SKIPPED &&
                 strcmp(report->results[i].text, report->results[k].text) == 0;
        printf("# skipped %s", report->results[i].test->name);
        if (n > 0)
            printf(" and %zu more", n);
        printf(": ");
        print_text(report->results[i].text);
        putchar('\n');
    }
}

size_t report_summary(const struct report *report)
{
    size_t all_failed = 0;
    int reached = 0;
    printf("# ---- %s\n", report->plugin);
    print_skipped(report);
    print_failed(report);
    for (int level = 1; level <= REPORT_LEVELS; level++) {
        size_t n = count(report, level, -1), failed = count(report, level, KIT_FAILED);
        size_t skipped = count(report, level, KIT_SKIPPED);
        if (n == 0)
            continue;
        printf("# level %d: %zu passed, %zu failed, %zu skipped\n", level, n - failed - skipped,
               failed, skipped);
        if (reached == level - 1 && failed == 0 && skipped < n)
            reached = level;
        all_failed += failed;
    }
    if (report->partial)
        return all_failed;
    if (reached > 0)
        printf("# %s conforms to level %d\n", report->plugin, reached);
    else
        printf("# %s: no level from the first one on has passed\n", report->plugin);
    for (int level = reached + 2; level <= REPORT_LEVELS; level++)
        if (count(report, level, -1) > count(report, level, KIT_SKIPPED) &&
            count(report, level, KIT_FAILED) == 0)
            printf("# level %d passed, but level %d has not\n", level, reached + 1);
    return all_failed;
}

/* ---- JUnit ---- */

static void write_escaped(FILE *f, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&' || c == '<' || c == '>' || c == '"')
            fprintf(f, "&#%u;", c);
        else if (c == '\n' || c >= ' ')
            fputc(c, f);
        else
            fputc('?', f); /* which XML cannot have */
    }
}

static void write_case(FILE *f, const struct report *report, const struct kit_result *r)
{
    static const char *const tags[] = {NULL, "failure", "skipped"};
    fprintf(f, "    <testcase classname=\"%s.level%d\" name=\"%s\" time=\"%.3f\"", report->plugin,
            r->test->level, r->test->name, r->seconds);
    if (r->outcome == KIT_PASSED) {
        fputs("/>\n", f);
        return;
    }
    fprintf(f, "><%s message=\"", tags[r->outcome]);
    write_escaped(f, r->text);
    fprintf(f, "\"/></testcase>\n");
}

int report_junit(const struct report *report, const char *file)
{
    FILE *f = fopen(file, "we");
    if (!f)
        return OUTBOX_E_CONFIG;
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"outbox-conform\">\n", f);
    for (int level = 1; level <= REPORT_LEVELS; level++) {
        if (count(report, level, -1) == 0)
            continue;
        fprintf(
            f,
            "  <testsuite name=\"%s level %d\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\">\n",
            report->plugin, level, count(report, level, -1), count(report, level, KIT_FAILED),
            count(report, level, KIT_SKIPPED));
        for (size_t i = 0; i < report->n; i++)
            if (report->results[i].test->level == level)
                write_case(f, report, &report->results[i]);
        fputs("  </testsuite>\n", f);
    }
    fputs("</testsuites>\n", f);
    bool failed = ferror(f) != 0;
    return fclose(f) != 0 || failed ? OUTBOX_E_CONFIG : OUTBOX_OK;
}
