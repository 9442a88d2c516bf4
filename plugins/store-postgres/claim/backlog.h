/* SPDX-License-Identifier: Apache-2.0 */
/* backlog.h - what a claim looks at beside the rows that are ready. Only the claim includes it. */
#ifndef STORE_POSTGRES_CLAIM_BACKLOG_H
#define STORE_POSTGRES_CLAIM_BACKLOG_H

#include "postgres.h"

#define DELAYED "m.status = 'pending' AND m.available_at IS NOT NULL AND m.lane IS NULL"

/* A look, to go along with a claim, and its result. */
struct step outlook_step(struct store *s, struct args *args);
void outlook_take(struct store *s, const PGresult *look);
int64_t outlook_next_due_ms(const struct store *s);
/* Did the last look find something that is due only now? Then one more try. */
bool outlook_is_behind(const struct store *s);
/* Frees what others left behind; before a claim. */
int outlook_tidy_up(struct store *s, const struct outbox_claim *claim, struct outbox_err *err);

#endif
