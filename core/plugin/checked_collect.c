/* SPDX-License-Identifier: Apache-2.0 */
/* checked_collect.c - submit and collect: which messages the plugin has, and until when. */
#include "plugin/checked_call.h"

#include "base/array.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* ---- what was submitted ---- */

/* At the begin of every call: nobody may have written since the last one. */
void checked_collect_begin(struct checked_call *here)
{
    bool told = false;
    for (size_t i = 0; i < here->of->n_entries; i++) {
        struct checked_entry *entry = &here->of->entries[i];
        if (memcmp(entry->lent, &entry->seen, sizeof entry->seen) == 0)
            continue;
        if (!told)
            checked_call_report(here, "writes-early", "an outcome was written before collect");
        entry->seen = *entry->lent;
        told = true;
    }
}

static void remember(struct checked *c)
{
    for (size_t i = 0; i < c->n_entries; i++)
        c->entries[i].seen = *c->entries[i].lent;
}

void checked_collect_drop(struct checked *of)
{
    for (size_t i = 0; i < of->n_entries; i++)
        checked_pages_return(&of->entries[i].pages);
    free(of->entries);
    of->entries = NULL;
    of->n_entries = of->room_entries = 0;
}

/* ---- submit ---- */

static bool make_room(struct checked *c, uint64_t n)
{
    size_t room = c->n_entries + (size_t)n;
    if (room <= c->room_entries)
        return true;
    struct checked_entry *grown = reallocarray(c->entries, 2 * room, sizeof *grown);
    if (!grown)
        return false;
    c->entries = grown;
    c->room_entries = 2 * room;
    return true;
}

/* Each message in pages of its own, since each is given back alone. */
static const struct outbox_message *lend(struct checked *c, struct checked_entry *entry,
                                         const struct outbox_message *msg,
                                         struct outbox_outcome *outcome, uint32_t timeout_ms)
{
    *entry = (struct checked_entry){.pages = {.vault = &c->plugin->vault}, .host = outcome};
    entry->due_us = clock_monotonic_us() + timeout_ms * INT64_C(1000);
    const struct outbox_message *copy = checked_copy_message(&entry->pages, msg);
    entry->lent = checked_pages_add(&entry->pages, outcome, sizeof *outcome, true);
    checked_pages_seal(&entry->pages);
    return entry->pages.failed ? NULL : copy;
}

/* The arrays are borrowed for the call; what they point to, for longer. */
static bool lend_all(struct checked_call *here, const struct outbox_message *const *msgs,
                     uint64_t n, struct outbox_outcome *const *outcomes,
                     const struct outbox_message ***ret_msgs, struct outbox_outcome ***ret_outcomes)
{
    struct checked *c = here->of;
    *ret_msgs = checked_pages_add(&here->pages, NULL, n * sizeof **ret_msgs, false);
    *ret_outcomes = checked_pages_add(&here->pages, NULL, n * sizeof **ret_outcomes, false);
    if (here->pages.failed || !make_room(c, n))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        struct checked_entry *entry = &c->entries[c->n_entries + i];
        (*ret_msgs)[i] = lend(c, entry, msgs[i], outcomes[i], here->given->timeout_ms);
        (*ret_outcomes)[i] = entry->lent;
        here->pages.failed |= entry->pages.failed;
    }
    return true;
}

static int submit(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                  const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                  uint64_t *ret_n, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    const struct outbox_message **lent_msgs;
    struct outbox_outcome **lent_outcomes;
    uint64_t taken = 0;
    int r = OUTBOX_E_RETRY;
    checked_call_begin(&here, c, "submit", call, err);
    bool lent = lend_all(&here, msgs, n, outcomes, &lent_msgs, &lent_outcomes);
    here.pages.failed |= !lent;
    if (checked_call_ready(&here)) {
        r = checked_publisher_inner(c)->submit(c->inner, lent_msgs, n, here.call, lent_outcomes,
                                               &taken, here.err);
        if (taken > n) {
            checked_call_report(&here, "collects-unknown", "it took %llu messages of %llu",
                                (unsigned long long)taken, (unsigned long long)n);
            taken = n;
        }
    }
    for (uint64_t i = taken; lent && i < n; i++)
        checked_pages_return(&c->entries[c->n_entries + i].pages);
    c->n_entries += taken;
    remember(c);
    *ret_n = taken;
    return checked_call_end(&here, r);
}

/* ---- collect ---- */

static struct checked_entry *find(struct checked *c, const struct outbox_outcome *lent)
{
    for (size_t i = 0; i < c->n_entries; i++)
        if (c->entries[i].lent == lent)
            return &c->entries[i];
    return NULL;
}

/* Gives the outcome to the host, and takes the message back. */
static void hand_out(struct checked_call *here, struct checked_entry *entry)
{
    struct checked *c = here->of;
    struct outbox_outcome **added = array_add(&c->handed, &c->n_handed, sizeof *added);
    if (!added) {
        here->pages.failed = true;
        return;
    }
    if (!checked_pages_unchanged(&entry->pages))
        checked_call_report(here, "changes-messages", "it changed a message that was submitted");
    if (!checked_pages_within(&entry->pages))
        checked_call_report(here, "writes-beyond", "it wrote behind an outcome");
    checked_publisher_outcome(here, entry->lent, entry->host);
    *added = entry->host;
    checked_pages_return(&entry->pages);
    *entry = c->entries[--c->n_entries];
}

static void check_late(struct checked_call *here)
{
    for (size_t i = 0; i < here->of->n_entries; i++) {
        struct checked_entry *entry = &here->of->entries[i];
        if (here->began_us < entry->due_us + CHECKED_LATE_MS * INT64_C(1000))
            continue;
        checked_call_report(here, "collects-late", "a message has no outcome after its time");
        entry->due_us = INT64_MAX / 2; /* told */
    }
}

static int collect(void *instance, const struct outbox_call *call,
                   struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    struct outbox_outcome *const *theirs = NULL;
    uint64_t n = 0;
    int r = OUTBOX_E_RETRY;
    free(c->handed);
    c->handed = NULL;
    c->n_handed = 0;
    checked_call_begin(&here, c, "collect", call, err);
    if (checked_call_ready(&here)) {
        r = checked_publisher_inner(c)->collect(c->inner, here.call, &theirs, &n, here.err);
        if (n > 0 && !theirs)
            checked_call_report(&here, "unset-ret", "it says that it has outcomes, and sets none");
        for (uint64_t i = 0; theirs && i < n; i++) {
            struct checked_entry *entry = find(c, theirs[i]);
            if (entry)
                hand_out(&here, entry);
            else
                checked_call_report(&here, "collects-unknown",
                                    "it handed out what was not submitted, or twice");
        }
        checked_publisher_reasons(&here);
        check_late(&here);
        remember(c);
    }
    *ret = c->handed;
    *ret_n = c->n_handed;
    return checked_call_end(&here, r);
}

static int32_t ready_fd(void *instance)
{
    struct checked *c = instance;
    return checked_publisher_inner(c)->ready_fd(c->inner);
}

void checked_collect_set_ops(struct outbox_publisher_ops *ops)
{
    ops->submit = submit;
    ops->collect = collect;
    if (ops->ready_fd)
        ops->ready_fd = ready_fd;
}
