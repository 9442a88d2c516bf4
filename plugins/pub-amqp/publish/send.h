/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "publish/call.h"
#include "publish/publication.h"

/*
 * Sends a message frame by frame. Stops in the middle when the channel is closed or the connection
 * fails, also because the call's time is over.
 */
void send_publication(struct call *c, const struct publication *p);
