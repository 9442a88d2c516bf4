/* SPDX-License-Identifier: Apache-2.0 */
/* operations.h - what plugin.c puts into the table of operations; see <outbox/store.h>. */
#ifndef STORE_SQLITE_OPERATIONS_H
#define STORE_SQLITE_OPERATIONS_H

#include "store.h"

int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err);
int init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
         struct outbox_err *err);
int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err);
int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err);
int settle_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err);
int lease_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
                const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);
int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err);
void wait_end(struct store *s);
int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int admin_requeue(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err);
int admin_discard(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err);
int admin_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
                const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err);
int relays_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
               struct outbox_err *err);
int relays_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                struct outbox_err *err);
int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);

#endif
