/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leases.c - claims that are marks in their rows and a row of {t_leases} which says until when. Who
 * settles or expires a claim locks that row first, so that the two never meet half-way.
 */
#include "postgres.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Random and positive: nobody holds the number of a claim that is not his. */
int leases_token(int64_t *ret, struct outbox_err *err)
{
    ssize_t n;
    do
        n = getrandom(ret, sizeof *ret, 0);
    while (n < 0 && errno == EINTR);
    if (n != sizeof *ret)
        return outbox_fail(err, OUTBOX_E_RETRY, "no random numbers: %s", strerror(errno));
    *ret = (int64_t)((uint64_t)*ret >> 1) | 1;
    return OUTBOX_OK;
}

int leases_expire(struct store *s, struct outbox_err *err)
{
    PGresult *result;
    int r = db_query(s, SLOT_EXPIRE,
                     "WITH dead AS (DELETE FROM {t_leases} WHERE lease IN (SELECT lease FROM"
                     "  {t_leases} WHERE until <= statement_timestamp() FOR UPDATE SKIP LOCKED)"
                     "  RETURNING lease)"
                     " UPDATE {t} m SET status = 'pending', lease = NULL FROM dead"
                     " WHERE m.status = 'processing' AND m.lease = dead.lease",
                     NULL, &result, err);
    if (r < 0)
        return r;
    uint64_t n = db_changed(result);
    PQclear(result);
    if (n > 0) {
        s->host->count(s->host, "lease_expired_total", (int64_t)n);
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%" PRIu64 " messages were held by a relay that did not end cleanly; they are "
                    "free again and may arrive twice",
                    n);
    }
    return OUTBOX_OK;
}

/* Another program's relay marked rows and knows no leases: they expire like any from now on. */
int leases_adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    int64_t token;
    int r = leases_token(&token, err);
    if (r < 0)
        return r;
    args_int(&args, token);
    args_int(&args, claim->lease_ms);
    args_text(&args, claim->relay);
    r = db_query(s, SLOT_ADOPT,
                 "WITH mine AS (INSERT INTO {t_leases} (lease, until, relay) VALUES ($1,"
                 "  clock_timestamp() + $2::int8::float8 * interval '1 millisecond', $3))"
                 " UPDATE {t} m SET lease = $1 WHERE m.status = 'processing' AND (m.lease IS NULL"
                 "  OR NOT EXISTS (SELECT 1 FROM {t_leases} l WHERE l.lease = m.lease))",
                 &args, &result, err);
    PQclear(result);
    return r;
}

int leases_give_back(struct store *s, int64_t token, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    args_int(&args, token);
    int r = db_query(s, SLOT_RELEASE,
                     "WITH ended AS (DELETE FROM {t_leases} WHERE lease = $1 RETURNING lease)"
                     " UPDATE {t} m SET status = 'pending', lease = NULL FROM ended"
                     " WHERE m.status = 'processing' AND m.lease = ended.lease",
                     &args, &result, err);
    PQclear(result);
    return r;
}

int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
          const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct store *s = instance;
    char text[24];
    *ret_held = 0;
    if (lease.n >= sizeof text)
        return outbox_fail(err, OUTBOX_E_CONFIG, "renew: no such lease");
    memcpy(text, lease.p, (size_t)lease.n);
    text[lease.n] = '\0';
    int64_t token = strtoll(text, NULL, 10);
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    struct args until = {.arena = &s->scratch}, held = {.arena = &s->scratch};
    args_int(&until, token);
    args_int(&until, lease_ms);
    args_int(&held, token);
    struct step steps[] = {
        {.slot = SLOT_RENEW,
         .sql = "UPDATE {t_leases} SET until = clock_timestamp() + $2::int8::float8 * interval '1 "
                "millisecond'"
                " WHERE lease = $1",
         .args = &until},
        {.slot = SLOT_LEASE_HELD,
         .sql = "SELECT count(*) FROM {t} WHERE status = 'processing' AND lease = $1",
         .args = &held},
    };
    r = db_run(s, steps, 2, err);
    if (r < 0)
        return r;
    if (db_changed(steps[0].result) > 0)
        *ret_held = (uint64_t)column_int(steps[1].result, 0, 0);
    PQclear(steps[0].result);
    PQclear(steps[1].result);
    return OUTBOX_OK;
}
