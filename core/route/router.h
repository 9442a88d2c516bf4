/* SPDX-License-Identifier: Apache-2.0 */
/* router.h - which publisher a message goes to. */
#pragma once

#include "base/log.h"
#include "route/route.h"

/* A table in use by one thread: its rule plugins are open. Routers of one table share it unlocked,
 * because nobody writes it. */
struct router;
int router_open(const struct route_table *table, struct log *log, struct router **ret,
                struct outbox_err *err);
void router_close(struct router *router);

/* How a decision came about, for `outboxd route`; the text is one line without newline. */
typedef void (*router_explain)(void *ctx, const struct route *route, const char *why);

/*
 * The publisher's index and *ret_route (NULL: the fallback), or OUTBOX_E_NOTSUP when no
 * route and no fallback takes it (err says so), or a rule's error. `explain` may be NULL.
 */
int router_route(struct router *router, const struct outbox_message *msg, router_explain explain,
                 void *ctx, size_t *ret, const struct route **ret_route, struct outbox_err *err);

/* The same by the publisher's name alone, which may be one that the table does not know. For a
 * table without rules; any thread, several at the same time. */
int router_decide(const struct route_table *table, const struct outbox_message *msg,
                  router_explain explain, void *ctx, const char **ret,
                  const struct route **ret_route, struct outbox_err *err);
