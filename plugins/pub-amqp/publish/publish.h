/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <outbox/publisher.h>

/* The operation `publish`, see outbox/publisher.h. */
int publish_messages(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     struct outbox_err *err);
