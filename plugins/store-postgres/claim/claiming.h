/* SPDX-License-Identifier: Apache-2.0 */
/* claiming.h - one claim on its way. Only the files of claiming include it. */
#ifndef STORE_POSTGRES_CLAIM_CLAIMING_H
#define STORE_POSTGRES_CLAIM_CLAIMING_H

#include "claim/batch_build.h"

#define READY "m.status = 'pending' AND m.available_at IS NULL AND m.lane IS NULL"

/* The inner statement is kept apart: a join must not run it again and take more than its LIMIT. An
 * idle relay writes nothing, no lease either. One that waited for a lock until nobody waits for its
 * answer takes nothing. The last four arguments, of claiming_args_lease: token, ms, relay, the
 * call's ms. */
#define LEASED(columns, inner, token, ms, relay, call)                                           \
    "WITH picked AS MATERIALIZED (SELECT m.ctid FROM {t} m WHERE clock_timestamp()"              \
    "  < transaction_timestamp() + " call "::int8::float8 * interval '1 millisecond' AND " inner \
    " ), mine AS (INSERT INTO {t_leases} (lease, until, relay) SELECT " token ","                \
    "  clock_timestamp() + " ms "::int8::float8 * interval '1 millisecond', " relay              \
    "  WHERE EXISTS (SELECT 1 FROM picked) ON CONFLICT (lease) DO NOTHING)"                      \
    " UPDATE {t} m SET status = 'processing', lease = " token " FROM picked"                     \
    " WHERE m.ctid = picked.ctid RETURNING " columns

struct claim_now {
    struct gathering g;
    struct claimed *c;
    bool begun; /* something is held */
    bool looked;
    int64_t bound; /* for the next one */
};

int claiming_begin(struct store *s, const struct outbox_claim *claim, struct claim_now *ret,
                   struct outbox_err *err);
void claiming_args_lease(struct args *args, const struct claim_now *now);
/* Runs `main` with what has to come before it and may come along; gathers its rows. */
int claiming_round_trip(struct store *s, struct claim_now *now, struct step main, bool look,
                        struct outbox_err *err);
/* After that: r if it failed. A claim that holds nothing is ended at once, one that failed as far
 * as that goes. */
int claiming_end(struct store *s, struct claim_now *now, int r, struct outbox_err *err);
/* Gathers a batch. */
int claiming_take(struct store *s, const struct outbox_claim *claim, struct claim_now *now,
                  struct outbox_err *err);

/* ---- despite.c ---- */

/*
 * A claim failed with r, and *err says why. If that was for rows that cannot be read, these are the
 * batch; if others have them, or nobody can, it is what there is beside them.
 */
int claiming_take_despite(struct store *s, const struct outbox_claim *claim, int r,
                          struct claim_now *now, struct outbox_err *err);

#endif
