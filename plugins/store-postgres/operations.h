/* SPDX-License-Identifier: Apache-2.0 */
/* operations.h - what the host calls, see outbox/store.h; plugin.c puts them into its table. */
#ifndef STORE_POSTGRES_OPERATIONS_H
#define STORE_POSTGRES_OPERATIONS_H

#include <outbox/plugin.h>

/* claim/ */
int op_claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
             struct outbox_batch **ret, struct outbox_err *err);
int op_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
             const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);

/* settle/ */
int op_settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
              uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err);
int op_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
               struct outbox_err *err);

/* listener.c, save.c */
int op_wait(void *instance, const struct outbox_call *call, struct outbox_err *err);
int op_wait_stop(void *instance, const struct outbox_call *call, struct outbox_err *err);
int op_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
            const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);

/* admin/ */
int op_list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
            const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int op_requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
             const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
             struct outbox_stats *ret, struct outbox_err *err);
int op_relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
                 struct outbox_err *err);
int op_relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                  struct outbox_err *err);

#endif
