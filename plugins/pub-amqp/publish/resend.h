/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "publish/call.h"
#include "publish/publication.h"

/* What is unconfirmed will be sent again, in its order. */
void resend_unconfirmed(struct call *c);
/*
 * The broker closed the channel: finds out because of which message, and opens it again.
 * Negative: the call is over.
 */
int resend_after_close(struct call *c);
/* Is its exchange known to be missing? Then the message gets its outcome. */
bool resend_refuse_missing(struct call *c, uint32_t index, const struct publication *p);
