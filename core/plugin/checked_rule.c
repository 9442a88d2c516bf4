/* SPDX-License-Identifier: Apache-2.0 */
/* checked_rule.c - a rule that is asked twice, and must say the same. */
#include "plugin/checked_call.h"

#include <stdlib.h>
#include <string.h>

/* No rule has a reason to name more. */
#define NAMES_MAX 1000
#define NAME_BYTES 512

static void forget_names(struct checked *c)
{
    for (size_t i = 0; c->names && c->names[i]; i++)
        free((void *)(uintptr_t)c->names[i]);
    free(c->names);
    c->names = NULL;
}

/* The name, a byte at a time, for free(); NULL: it cannot be read. */
static char *copy_name(const char *name)
{
    char text[NAME_BYTES];
    size_t n = 0;
    do {
        if (n == sizeof text || !checked_reason_read(name + n, text + n, 1))
            return NULL;
    } while (text[n++]);
    return strdup(text);
}

/* The names belong to the plugin, and the second call may change them. NULL: not readable. */
static const char **copy_names(const struct outbox_decision *decision)
{
    size_t n = decision->n > NAMES_MAX ? NAMES_MAX : (size_t)decision->n;
    const char **names = calloc(n + 1, sizeof *names);
    for (size_t i = 0; names && i < n; i++) {
        const char *theirs;
        if (checked_reason_read(&decision->publishers[i], &theirs, sizeof theirs))
            names[i] = copy_name(theirs);
        if (names[i])
            continue;
        while (i > 0)
            free((void *)(uintptr_t)names[--i]);
        free(names);
        names = NULL;
    }
    return names;
}

static bool same_names(const char *const *a, const char *const *b)
{
    size_t i = 0;
    while (a[i] && b[i] && strcmp(a[i], b[i]) == 0)
        i++;
    return !a[i] && !b[i];
}

/* Asks for a decision, into *ret. */
static int ask(struct checked_call *here, const struct outbox_message *msg,
               struct outbox_decision *lent, struct outbox_decision *ret)
{
    struct checked *c = here->of;
    const struct outbox_decision none = {.size = sizeof none};
    *lent = none;
    int r = c->plugin->inner->ops.rule.route(c->inner, msg, lent, here->err);
    *ret = *lent;
    forget_names(c);
    if (r != OUTBOX_OK || (c->names = copy_names(ret)))
        return r;
    checked_call_report(here, "decision-memory", "the names of its decision cannot be read");
    here->useless = "decision-memory";
    ret->n = 0;
    return r;
}

static int decide(struct checked_call *here, const struct outbox_message *msg,
                  struct outbox_decision *lent, struct outbox_decision *ret)
{
    struct checked *c = here->of;
    int r = ask(here, msg, lent, ret);
    const char **first = c->names;
    c->names = NULL;
    if (r == OUTBOX_OK && first) {
        r = ask(here, msg, lent, ret);
        if (r != OUTBOX_OK || (c->names && !same_names(first, c->names)))
            checked_call_report(here, "decision-changes",
                                "it decided otherwise for the same message");
    }
    if (checked_call_ms(here) > CHECKED_LATE_MS)
        checked_call_report(here, "slow-route", "it took %lld ms",
                            (long long)checked_call_ms(here));
    if (!checked_reason_take(&c->reasons, &ret->reason))
        checked_call_report(here, "reason-memory", "its reason cannot be read");
    checked_publisher_reasons(here);
    ret->publishers = c->names;
    for (size_t i = 0; first && first[i]; i++)
        free((void *)(uintptr_t)first[i]);
    free(first);
    return r;
}

static int route(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    int r = OUTBOX_E_RETRY;
    checked_call_begin(&here, c, "route", NULL, err);
    struct outbox_decision *lent = checked_pages_add(&here.pages, ret, sizeof *ret, true);
    const struct outbox_message *copy = checked_copy_message(&here.pages, msg);
    if (checked_call_ready(&here))
        r = decide(&here, copy, lent, ret);
    return checked_call_end(&here, r);
}

void checked_rule_drop(struct checked *of)
{
    forget_names(of);
}

void checked_rule_set_ops(struct outbox_rule_ops *ops)
{
    ops->open = checked_life_open;
    ops->close = checked_life_close;
    ops->route = route;
}
