/* SPDX-License-Identifier: Apache-2.0 */
/* postgres_rig.h - what the tests of store-postgres's own have in common. */
#pragma once

#include "forward.h"
#include "postgres_kind.h"

#define T "outbox_messages"

/* For loop tests: in which mode later instances hold rows and reach the server. */
enum mode { MODE_LOCKS, MODE_LEASES, MODE_LOCKS_POOLED, MODE_LEASES_POOLED, N_MODES };
#define MODES_DIRECT 2
void use_mode(int mode);
/* Through the pooler, in sessions that no other test uses; valid until asked for again. */
const char *pooled_conninfo(void);
bool mode_is_leases(int mode);
bool mode_is_pooled(int mode);

/* An application_name that no other test's sessions have; valid until the next one is asked for. */
const char *own_name(const char *application);
/* A new instance whose sessions have that name; `more` is added to its conninfo. */
struct store *instance_as(const char *application, const char *more);
/* The same through a forwarder to where the mode leads. */
struct forward *a_forwarder(int mode);
struct store *instance_through(struct forward *f, const char *application);
/* Sessions with that name. */
int64_t sessions(const char *application);
/* Ends them, and waits until they are gone. */
void terminate(const char *application);
/* Is the condition, a SELECT of a boolean, true soon? */
bool soon(const char *condition);

/* Everything that is due, within generous bounds. */
struct outbox_claim a_claim(uint32_t limit);
int try_claim(struct store *s, struct outbox_claim what, struct outbox_call call,
              struct outbox_batch **ret, struct outbox_err *err);
/* Each message in its way; stale[] may be NULL. */
int try_settle_each(struct store *s, struct outbox_batch *batch, const struct outbox_settle *hows,
                    struct outbox_call call, uint8_t *stale, struct outbox_err *err);
/* All messages alike; stale[] of the batch's size may be NULL. */
int try_settle(struct store *s, struct outbox_batch *batch, struct outbox_settle how,
               struct outbox_call call, uint8_t *stale, struct outbox_err *err);
/* As the relay does it: again and again until it worked. How many were stale. */
uint32_t settle_at_last(struct store *s, struct outbox_batch *batch, struct outbox_settle how,
                        uint8_t *stale);
/* A message from its claim to its purge, and all else that a relay and a person ask for. */
void do_everything(struct store *s);
/* One round of the relay of the Go package `outbox`, by its statements: how many it relayed. The
 * second one's $1 are the ids; NULL: it dies before. Counts them by their keys in seen[]; or NULL.
 */
int go_relay(PGconn *db, const char *claim_sql, const char *settle_sql, uint8_t *seen);
/* Does the text have this in it? */
#define assert_says(err, part) \
    ck_assert_msg(strstr((err)->text, part), "`%s` does not say `%s`", (err)->text, part)

#define DONE ((struct outbox_settle){.action = OUTBOX_SETTLE_DONE})
#define DONE_DELETED \
    ((struct outbox_settle){.action = OUTBOX_SETTLE_DONE, .flags = OUTBOX_SETTLE_DELETE})
#define FAILED_CHARGED                                                            \
    ((struct outbox_settle){.action = OUTBOX_SETTLE_FAILED,                       \
                            .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON, \
                            .reason = str("refused")})
#define RETRY_CHARGED                                                             \
    ((struct outbox_settle){.action = OUTBOX_SETTLE_RETRY,                        \
                            .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON, \
                            .delay_ms = 3600000,                                  \
                            .reason = str("later")})
