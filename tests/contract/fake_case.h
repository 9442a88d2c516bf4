/* SPDX-License-Identifier: Apache-2.0 */
/* fake_case.h - what the cases of pub-amqp against a fake broker share. */
#pragma once

#include "conform/publisher_contract.h"
#include "fake_broker.h"

/* The broker of a case; set what it shall do, then start it. */
extern struct fake fake;

/* The fixture: a fresh `fake` before each case, which is stopped afterwards. */
void fake_set_up(void);
void fake_tear_down(void);

/* An instance publishes to the queue `q` of `fake`. */
extern const struct publisher_kind fake_kind;

/* Starts `fake` with this callback, and opens an instance for it. */
struct instance *publisher_against(void (*on_message)(struct fake *, uint64_t tag, const char *id));

/* Calls the operation of that name, of whatever instance; it must not block. */
struct outbox_keepalive keepalive(struct instance *instance);
