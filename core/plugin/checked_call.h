/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked_call.h - the layer from inside: the plugin that it is, its instances, and the steps that
 * are the same around every call. checked_publisher.c and its like add their own between begin
 * and end.
 */
#pragma once

#include "base/reminder.h"
#include "plugin/checked.h"
#include "plugin/checked_pages.h"
#include "plugin/checked_reason.h"
#include "plugin/checked_state.h"
#include "plugin/instance.h"

#include <outbox/helpers.h>

struct checked;

/* What was logged already. */
struct checked_told {
    char instance[96];
    const char *operation, *rule;
    struct reminder reminder;
    uint64_t times;
};

struct checked_plugin {
    struct plugin plugin; /* first: the host's struct instance points to it */
    const struct plugin *inner;
    struct checker checker;
    struct checked_vault vault;
    _Atomic(const char *) operation; /* begun last; NULL: it has returned */
    pthread_mutex_t lock;            /* of what follows */
    struct checked *open;            /* whose hosts can log */
    struct checked_told *told;
    size_t n_told;
    struct checked_host *closed; /* kept for those who use a host after close; the newest first */
};

/* A message that was submitted and has no outcome yet. */
struct checked_entry {
    struct checked_pages pages;
    struct outbox_outcome *lent, *host;
    struct outbox_outcome seen; /* as *lent was at the end of the last call */
    int64_t due_us;
};

/* An instance; a shared state, too. */
struct checked {
    struct checked_plugin *plugin;
    struct checked_host *host;
    const struct outbox_cfg *cfg;
    void *inner; /* what the plugin calls its instance */
    struct checked *next;
    int descriptors, threads; /* before open; -1: not counted */
    struct checked_reasons reasons;
    /* a publisher */
    struct checked_entry *entries;
    size_t n_entries, room_entries;
    struct outbox_outcome **handed; /* out by collect */
    size_t n_handed;
    /* a store */
    const struct outbox_batch *batch; /* NULL: none is claimed */
    uint64_t batch_hash;
    /* a rule */
    const char **names; /* of its last decision, as the host gets them */
};

/* One call of one operation. */
struct checked_call {
    struct checked *of;
    const char *operation;
    struct checked_pages pages; /* the copies it borrows */
    const struct outbox_call *given;
    struct outbox_call *call; /* what the plugin gets; NULL: the operation has none */
    struct outbox_err *given_err;
    struct outbox_err *err; /* NULL: the host wants no reason */
    bool was_cancelled;
    const char *useless; /* the rule that makes the result worthless; NULL: none does */
    int64_t began_us;
    struct checked_state before;
};

/* Copies made between these two calls are lent to the plugin; `call` and `err` may be NULL.
 * checked_call_ready says false when there was no memory; then the result is OUTBOX_E_RETRY. */
void checked_call_begin(struct checked_call *c, struct checked *of, const char *operation,
                        const struct outbox_call *call, struct outbox_err *err);
bool checked_call_ready(struct checked_call *c);
/* What must be read of the copies is read before: they are taken away here. The result for the
 * host. */
int checked_call_end(struct checked_call *c, int r);
/* The result of calling the plugin, where there is memory for it. */
#define CHECKED_CALL(c, call_of_plugin) (checked_call_ready(c) ? (call_of_plugin) : OUTBOX_E_RETRY)
int64_t checked_call_ms(const struct checked_call *c); /* since it began */

/* A rule is broken. */
void checked_call_report(const struct checked_call *c, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void checked_report(struct checked_plugin *plugin, const char *instance, const char *operation,
                    const char *rule, const char *what);

/* The copy of a message with all that hangs on it; of text; of text that a NUL follows. NULL
 * without memory. */
const struct outbox_message *checked_copy_message(struct checked_pages *pages,
                                                  const struct outbox_message *msg);
struct outbox_str checked_copy_str(struct checked_pages *pages, struct outbox_str text);
struct outbox_str checked_copy_terminated(struct checked_pages *pages, struct outbox_str text);

/* ---- checked_host.c: what a plugin gets as its host ---- */

struct checked_host *checked_host_new(struct checked_plugin *plugin, const struct outbox_host *real,
                                      void *shared);
const struct outbox_host *checked_host_abi(const struct checked_host *host);
const char *checked_host_label(const struct checked_host *host);
bool checked_host_can_log(const struct checked_host *host);
void checked_host_log(const struct checked_host *host, const char *text);
bool checked_host_shows_secret(const struct checked *of, const char *text);
void checked_host_close(struct checked_host *host); /* from here on its use is told */
void checked_host_keep(struct checked_host *host);  /* for a while; the layer needs it no more */
void checked_host_forget_all(struct checked_plugin *plugin);

/* ---- checked_life.c: open and close of all kinds, and of shared states ---- */

int checked_life_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                      struct outbox_err *err);
void checked_life_close(void *instance);
int checked_life_shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg,
                             void **ret, struct outbox_err *err);
void checked_life_shared_close(void *shared);
uint64_t checked_life_capabilities(void *instance);

/* ---- the operations of each kind: they replace those that the plugin has ---- */

void checked_publisher_set_ops(struct outbox_publisher_ops *ops);
const struct outbox_publisher_ops *checked_publisher_inner(const struct checked *c);
/* An outcome on its way to the host; and, after all of them, are their reasons still there? */
void checked_publisher_outcome(struct checked_call *here, const struct outbox_outcome *lent,
                               struct outbox_outcome *host);
void checked_publisher_reasons(struct checked_call *here);
void checked_collect_set_ops(struct outbox_publisher_ops *ops);
void checked_collect_drop(struct checked *of); /* at close: the submitted ones are the host's */
void checked_collect_begin(struct checked_call *here);
void checked_store_set_ops(struct outbox_store_ops *ops);
void checked_batch_set_ops(struct outbox_store_ops *ops);
const struct outbox_store_ops *checked_store_inner(const struct checked *c);
void checked_rule_set_ops(struct outbox_rule_ops *ops);
void checked_rule_drop(struct checked *of); /* what is kept of its last decision */
