/* SPDX-License-Identifier: Apache-2.0 */
#include "postgres_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON_MS 60000

bool mode_is_leases(int mode)
{
    return mode == MODE_LEASES || mode == MODE_LEASES_POOLED;
}

bool mode_is_pooled(int mode)
{
    return mode == MODE_LOCKS_POOLED || mode == MODE_LEASES_POOLED;
}

static const char *base_conninfo;

const char *pooled_conninfo(void)
{
    static char conninfo[256];
    snprintf(conninfo, sizeof conninfo, "%s dbname=%s", getenv("OUTBOX_TEST_PGBOUNCER"),
             the_schema());
    return conninfo;
}

void use_mode(int mode)
{
    base_conninfo = mode_is_pooled(mode) ? pooled_conninfo() : getenv("OUTBOX_TEST_PG");
    use_option("conninfo", base_conninfo);
    use_option("claim", mode_is_leases(mode) ? "leases" : "locks");
}

const char *own_name(const char *application)
{
    static char name[64];
    snprintf(name, sizeof name, "%s-%s", application, the_schema());
    return name;
}

struct store *instance_as(const char *application, const char *more)
{
    char conninfo[512];
    snprintf(conninfo, sizeof conninfo, "%s application_name=%s %s",
             base_conninfo ? base_conninfo : getenv("OUTBOX_TEST_PG"), own_name(application),
             more ? more : "");
    use_option("conninfo", conninfo);
    return an_instance();
}

struct forward *a_forwarder(int mode)
{
    const char *port =
        getenv(mode_is_pooled(mode) ? "OUTBOX_TEST_PGBOUNCER_PORT" : "OUTBOX_TEST_PG_PORT");
    return forward_start((int)strtol(port, NULL, 10));
}

struct store *instance_through(struct forward *f, const char *application)
{
    char more[32];
    snprintf(more, sizeof more, "port=%d", forward_port(f));
    return instance_as(application, more);
}

int64_t sessions(const char *application)
{
    return number("SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'",
                  own_name(application));
}

void terminate(const char *application)
{
    char gone[160];
    snprintf(gone, sizeof gone,
             "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = '%s'",
             own_name(application));
    ck_assert_int_gt(number("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                            " WHERE application_name = '%s'",
                            own_name(application)),
                     0);
    ck_assert(soon(gone));
}

bool soon(const char *condition)
{
    for (int64_t end = now_ms() + SOON_MS; now_ms() < end; sleep_ms(5))
        if (number("SELECT (%s)::int", condition))
            return true;
    return false;
}

struct outbox_claim a_claim(uint32_t limit)
{
    return (struct outbox_claim){.size = sizeof(struct outbox_claim),
                                 .limit = limit,
                                 .lease_ms = LEASE_MS,
                                 .max_bytes = 64 << 20,
                                 .max_message = 64 << 20,
                                 .relay = str("relay-of-the-test"),
                                 .max_headers = 1000,
                                 .max_header_bytes = 300 << 10};
}

int try_claim(struct store *s, struct outbox_claim what, struct outbox_call call,
              struct outbox_batch **ret, struct outbox_err *err)
{
    *err = (struct outbox_err){.size = sizeof *err};
    *ret = NULL;
    return store_claim(s, &what, &call, ret, err);
}

int try_settle_each(struct store *s, struct outbox_batch *batch, const struct outbox_settle *hows,
                    struct outbox_call call, uint8_t *stale, struct outbox_err *err)
{
    uint32_t n = batch->n;
    struct outbox_settle *items = calloc(n, sizeof *items);
    const struct outbox_settle **pointers = calloc(n, sizeof *pointers);
    uint8_t *own = calloc(n, 1);
    ck_assert(items && pointers && own);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = hows[i];
        items[i].size = sizeof items[i];
        items[i].index = i;
        pointers[i] = &items[i];
    }
    *err = (struct outbox_err){.size = sizeof *err};
    int r = store_settle(s, batch, pointers, n, &call, stale ? stale : own, err);
    free(items);
    free(pointers);
    free(own);
    return r;
}

int try_settle(struct store *s, struct outbox_batch *batch, struct outbox_settle how,
               struct outbox_call call, uint8_t *stale, struct outbox_err *err)
{
    struct outbox_settle *hows = calloc(batch->n, sizeof *hows);
    ck_assert_ptr_nonnull(hows);
    for (uint32_t i = 0; i < batch->n; i++)
        hows[i] = how;
    int r = try_settle_each(s, batch, hows, call, stale, err);
    free(hows);
    return r;
}

uint32_t settle_at_last(struct store *s, struct outbox_batch *batch, struct outbox_settle how,
                        uint8_t *stale)
{
    struct outbox_err err;
    uint32_t n_stale = 0;
    uint8_t *own = calloc(batch->n, 1);
    int r;
    ck_assert_ptr_nonnull(own);
    for (int64_t end = now_ms() + SOON_MS;
         (r = try_settle(s, batch, how, within(5000), own, &err)) < 0; sleep_ms(20)) {
        ck_assert_msg(r != OUTBOX_E_BROKEN && r != OUTBOX_E_CONFIG, "%s", err.text);
        ck_assert_msg(now_ms() < end, "it never settled: %s", err.text);
    }
    for (uint32_t i = 0; i < batch->n; i++)
        n_stale += own[i] == OUTBOX_SETTLED_STALE;
    if (stale)
        memcpy(stale, own, batch->n);
    free(own);
    return n_stale;
}

void do_everything(struct store *s)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter failed = {.size = sizeof failed, .statuses = OUTBOX_FAILED};
    struct outbox_filter processed = {.size = sizeof processed, .statuses = OUTBOX_PROCESSED};
    struct outbox_relay_row relay = {.size = sizeof relay,
                                     .id = str("1"),
                                     .name = str("n"),
                                     .config_hash = str("c"),
                                     .state = str("{}"),
                                     .version = str("v")};
    struct outbox_relay_page *relays;
    struct outbox_stats stats;
    struct outbox_page *page;
    int64_t after = INT64_MIN;
    uint64_t n;
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
    assert_class(save_one(s, (struct outbox_new){.key = str("k"), .delay_ms = 1}, &err), OUTBOX_OK,
                 &err);
    struct outbox_batch *batch = claim_soon(s);
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_uint_eq(settle_all(s, batch, FAILED_CHARGED), 0);
    release(s, batch);
    assert_class(store_list(s, &failed, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 1);
    failed.topic = str("t*");
    assert_class(store_requeue(s, &failed, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    batch = claim_soon(s);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
    assert_class(store_stats(s, str(""), 0, CALL, &stats, &err), OUTBOX_OK, &err);
    assert_class(store_relay_put(s, &relay, CALL, &err), OUTBOX_OK, &err);
    assert_class(store_relay_list(s, CALL, &relays, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(relays->n, 1);
    assert_class(store_purge(s, &processed, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
}

int go_relay(PGconn *db, const char *claim_sql, const char *settle_sql, uint8_t *seen)
{
    PGresult *rows = PQexec(db, claim_sql);
    ck_assert_msg(PQresultStatus(rows) == PGRES_TUPLES_OK, "%s", PQerrorMessage(db));
    int n = PQntuples(rows);
    char *ids = NULL;
    size_t size;
    FILE *f = open_memstream(&ids, &size);
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < n; i++) {
        fprintf(f, "%c%s", i ? ',' : '{', PQgetvalue(rows, i, 0));
        if (seen)
            seen[strtol(PQgetvalue(rows, i, 2), NULL, 10)]++;
    }
    fputs(n ? "}" : "{}", f);
    fclose(f);
    PQclear(rows);
    if (settle_sql) {
        const char *values[] = {ids};
        rows = PQexecParams(db, settle_sql, 1, NULL, values, NULL, NULL, 0);
        ck_assert_msg(PQresultStatus(rows) == PGRES_COMMAND_OK, "%s", PQerrorMessage(db));
        PQclear(rows);
    }
    free(ids);
    return n;
}
