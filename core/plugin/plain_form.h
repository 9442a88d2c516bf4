/* SPDX-License-Identifier: Apache-2.0 */
/* plain_form.h - publish, made of submit and collect: for a call that has to have all outcomes. */
#pragma once

#include "plugin/publisher.h"

/* Arguments and result as those of publisher_publish. Nothing else may be in flight. */
int plain_form_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                       const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                       struct outbox_err *err);
