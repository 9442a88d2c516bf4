/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/rules.h"

#include "conform/course.h"
#include "conform/target.h"

#include <stdio.h>
#include <string.h>

#define PUBLISHER (1u << OUTBOX_KIND_PUBLISHER)
#define STORE (1u << OUTBOX_KIND_STORE)
#define RULE (1u << OUTBOX_KIND_RULE)
#define CALLS (PUBLISHER | STORE) /* what has struct outbox_call */
#define ALL (CALLS | RULE)
#define SUBMITS 0x100u /* a flag: for the asynchronous form alone */

static const struct rule {
    const char *name;
    uint32_t kinds;
    uint32_t flags;
} rules[] = {
    {"crashes", ALL, KIT_GATE},
    {"crashes-in-close", ALL, KIT_GATE},
    {"never-returns", ALL, KIT_GATE},
    {"late-return", CALLS, KIT_GATE},
    {"unset-ret", ALL, KIT_GATE},
    {"result-positive", ALL, KIT_GATE},
    {"error-text", ALL, KIT_GATE},
    {"cancelled-unasked", CALLS, KIT_GATE},
    {"outcome-number", CALLS, KIT_GATE},
    {"batch-limit", STORE, KIT_GATE},
    {"forgets-release", STORE, KIT_GATE},
    {"settles-nothing", STORE, KIT_GATE},
    {"ignores-cancel", CALLS, 0},
    {"slow-open", ALL, 0},
    {"slow-close", ALL, 0},
    {"slow-route", RULE, 0},
    {"borrowed-memory", ALL, 0},
    {"reads-past", ALL, 0},
    {"writes-beyond", ALL, 0},
    {"changes-messages", ALL, 0},
    {"reason-memory", PUBLISHER, 0},
    {"collects-unknown", PUBLISHER, SUBMITS},
    {"collects-late", PUBLISHER, SUBMITS},
    {"writes-early", PUBLISHER, SUBMITS},
    {"batch-bytes", STORE, 0},
    {"batch-order", STORE, 0},
    {"batch-message", STORE, 0},
    {"batch-changed", STORE, 0},
    {"decision-changes", RULE, 0},
    {"decision-memory", RULE, 0},
    {"reads-cancel-fd", CALLS, 0},
    {"closes-cancel-fd", CALLS, 0},
    {"leaks-descriptors", ALL, 0},
    {"leaks-threads", ALL, 0},
    {"signal-mask", ALL, 0},
    {"signal-handler", ALL, 0},
    {"locale", ALL, 0},
    {"directory", ALL, 0},
    {"environment", ALL, 0},
    {"umask", ALL, 0},
    {"writes-stdout", ALL, 0},
    {"writes-stderr", ALL, 0},
    {"logs-after-close", ALL, 0},
};
#define N_RULES (sizeof rules / sizeof rules[0])

/* How the course ended, if not by itself; the rule that it broke then, or NULL. */
static const char *ended_by(const struct course *c)
{
    if (c->never_returned)
        return "never-returns";
    if (c->fault_rule[0])
        return c->fault_rule;
    if (c->ended)
        return NULL;
    return strcmp(c->operation, "close") == 0 && c->in_call ? "crashes-in-close" : "crashes";
}

static void fail_for_the_end(const struct course *c)
{
    if (c->never_returned)
        ck_abort_msg("%s did not return in %lld ms, of which it had %lld", c->operation,
                     (long long)(c->allowed_ms + 10000), (long long)c->allowed_ms);
    if (c->fault_rule[0])
        ck_abort_msg("%s ended the process by signal %d (%s): it used memory that it may not use%s",
                     c->in_call ? c->operation : "something after a call", c->signal,
                     strsignal(c->signal),
                     strcmp(c->fault_rule, "borrowed-memory") == 0
                         ? ", which it had borrowed for an earlier call"
                         : ", beyond the end of what it has borrowed");
    if (c->signal)
        ck_abort_msg("%s ended the process by signal %d (%s)",
                     c->in_call ? c->operation : "something after a call", c->signal,
                     strsignal(c->signal));
    ck_abort_msg("%s", c->trouble);
}

/* The first open may start what stays, such as a library's. */
static bool is_first_leak(const struct course_report *r)
{
    return strncmp(r->rule, "leaks-", 6) == 0 && r->round == 0;
}

START_TEST(rule)
{
    const struct rule *wanted = &rules[_i];
    const struct course *c = course_run();
    const char *end = ended_by(c);
    const struct course_report *first = NULL;
    int n = 0;
    if (end && strcmp(end, wanted->name) == 0)
        fail_for_the_end(c);
    for (size_t i = 0; i < c->n_reports; i++)
        if (strcmp(c->reports[i].rule, wanted->name) == 0 && !is_first_leak(&c->reports[i]) &&
            n++ == 0)
            first = &c->reports[i];
    if (first)
        ck_abort_msg("%s: %s (%d times)", first->operation, first->what, n);
    if (end)
        kit_skip("the course did not end; see %s", end);
    if (rules[_i].flags & SUBMITS && !target()->plugin->ops.publisher.submit)
        kit_skip("it has no submit and collect");
    if (c->worked == 0)
        kit_skip("nothing worked: %s", c->trouble[0] ? c->trouble : "there was nothing to do");
}
END_TEST

static void add(const struct kit_sink *sink, uint32_t kind, bool gates)
{
    for (size_t i = 0; i < N_RULES; i++) {
        const struct kit_test like = {.name = rules[i].name,
                                      .level = 3,
                                      .flags = rules[i].flags | KIT_ALWAYS,
                                      .timeout_s = 600};
        if ((rules[i].kinds & 1u << kind) && gates == !!(rules[i].flags & KIT_GATE))
            kit_add(sink, &like, rule, (int)i, (int)i + 1, 0);
    }
}

void rules_add_gates(const struct kit_sink *sink, uint32_t kind)
{
    add(sink, kind, true);
}

void rules_add(const struct kit_sink *sink, uint32_t kind)
{
    add(sink, kind, false);
}
