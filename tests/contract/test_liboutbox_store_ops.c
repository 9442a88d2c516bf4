/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that an application makes from functions of its own. */
#include "embedding.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <stdlib.h>

static struct outbox_new about(const char *topic)
{
    return (struct outbox_new){.size = sizeof(struct outbox_new), .topic = outbox_cstr(topic)};
}

/* Keeps nothing, and has one batch of nothing. */
struct fake {
    _Atomic int saved;
    _Atomic int claims;
    struct outbox_batch batch;
};

static int fake_claim(void *ctx, const struct outbox_claim *claim, const struct outbox_call *call,
                      struct outbox_batch **ret, struct outbox_err *err)
{
    struct fake *fake = ctx;
    (void)claim;
    (void)call;
    (void)err;
    fake->claims++;
    *ret = &fake->batch;
    return OUTBOX_OK;
}

static int fake_settle(void *ctx, struct outbox_batch *batch,
                       const struct outbox_settle *const *items, uint64_t n,
                       const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    (void)ctx;
    (void)batch;
    (void)items;
    (void)call;
    (void)err;
    memset(settled, OUTBOX_SETTLED, n);
    return OUTBOX_OK;
}

static int fake_release(void *ctx, struct outbox_batch *batch, const struct outbox_call *call,
                        struct outbox_err *err)
{
    (void)ctx;
    (void)batch;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int fake_save(void *ctx, const struct outbox_new *const *rows, uint64_t n,
                     const struct outbox_exec *exec, const struct outbox_call *call,
                     struct outbox_err *err)
{
    struct fake *fake = ctx;
    (void)rows;
    (void)exec;
    (void)call;
    (void)err;
    fake->saved += (int)n;
    return OUTBOX_OK;
}

static const struct outbox_store_ops fake_ops = {
    .size = sizeof fake_ops,
    .claim = fake_claim,
    .settle = fake_settle,
    .release = fake_release,
    .save = fake_save,
};

START_TEST(a_store_is_made_from_functions)
{
    struct fake fake = {.batch = {.size = sizeof fake.batch, .next_due_ms = -1}};
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_store *store;
    struct outbox_relay *relay;
    const struct outbox_new message = about("t");
    app_ok(outbox_store_from_ops(&fake_ops, &fake, &store, &app_err));
    app_ok(outbox_store_init(store, 1000, &app_err));
    app_ok(outbox_store_check(store, 1000, &app_err));
    app_ok(outbox_save_one(store, &message, NULL, 1000, NULL, &app_err));
    ck_assert_int_eq(fake.saved, 1);
    ck_assert_int_eq(outbox_store_stats(store, 0, 1000, &stats, &app_err), OUTBOX_E_NOTSUP);
    outbox_store_close(store);
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_set_store_ops(relay, &fake_ops, &fake, &app_err));
    app_refused(outbox_relay_set_store_ops(relay, &fake_ops, &fake, &app_err), "already");
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_ok(outbox_relay_run_once(relay, 0, NULL, &app_err));
    ck_assert_int_gt(fake.claims, 0);
    outbox_relay_free(relay);
}
END_TEST

/* An instance of its own for each that is opened. */
static int own_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                    struct outbox_err *err)
{
    (void)cfg;
    struct fake *fake = malloc(sizeof *fake);
    if (!fake)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *fake = (struct fake){.saved = ((struct fake *)host->shared)->saved};
    *ret = fake;
    return OUTBOX_OK;
}

static int own_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
                    const struct outbox_exec *exec, const struct outbox_call *call,
                    struct outbox_err *err)
{
    struct fake *fake = instance;
    (void)rows;
    (void)n;
    (void)exec;
    (void)call;
    return outbox_fail(err, OUTBOX_E_CONFIG, "from ctx: %d", fake->saved);
}

START_TEST(an_instance_finds_ctx_in_its_host)
{
    struct fake fake = {.saved = 41};
    struct outbox_store_ops ops = fake_ops;
    const struct outbox_new message = about("t");
    struct outbox_store *store;
    ops.open = own_open;
    ops.close = free;
    ops.save = own_save;
    app_ok(outbox_store_from_ops(&ops, &fake, &store, &app_err));
    app_refused(outbox_save_one(store, &message, NULL, 1000, NULL, &app_err), "from ctx: 41");
    outbox_store_close(store);
}
END_TEST

START_TEST(functions_that_make_no_store_are_refused)
{
    struct fake fake = {0};
    struct outbox_store_ops ops = fake_ops;
    struct outbox_store *store;
    app_refused(outbox_store_from_ops(&ops, NULL, &store, &app_err), "needs a ctx");
    ops.claim = NULL;
    app_refused(outbox_store_from_ops(&ops, &fake, &store, &app_err),
                "lacks the operation `claim`");
    ops.size = 0;
    app_refused(outbox_store_from_ops(&ops, &fake, &store, &app_err), "has no size");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_store_ops");
    TCase *tc = tcase_create("liboutbox_store_ops");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_store_is_made_from_functions);
    tcase_add_test(tc, an_instance_finds_ctx_in_its_host);
    tcase_add_test(tc, functions_that_make_no_store_are_refused);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
