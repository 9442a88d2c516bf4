/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer that checks plugins tells of stores and rules. */
#include "checked_case.h"

/* ---- a store ---- */

static struct outbox_message rows[4];
static const struct outbox_message *row_ptrs[4] = {&rows[0], &rows[1], &rows[2], &rows[3]};
static struct outbox_batch batch;
static char payload[] = "hello";
static struct {
    bool none;
    uint8_t settled;
    size_t beyond;
} store;

static int claim(void *self, const struct outbox_claim *asked, const struct outbox_call *given,
                 struct outbox_batch **ret, struct outbox_err *why)
{
    (void)self;
    (void)asked;
    (void)given;
    (void)why;
    if (!store.none)
        *ret = &batch;
    return OUTBOX_OK;
}

static int settle(void *self, struct outbox_batch *of, const struct outbox_settle *const *items,
                  uint64_t n, const struct outbox_call *given, uint8_t *settled,
                  struct outbox_err *why)
{
    (void)self;
    (void)of;
    (void)items;
    (void)given;
    (void)why;
    memset(settled, store.settled, n + store.beyond);
    return OUTBOX_OK;
}

static int release(void *self, struct outbox_batch *of, const struct outbox_call *given,
                   struct outbox_err *why)
{
    (void)self;
    (void)of;
    (void)given;
    (void)why;
    return OUTBOX_OK;
}

static const struct plugin fake_store = {.desc = {.kind = OUTBOX_KIND_STORE, .name = "fake"},
                                         .ops.store = {.size = sizeof(struct outbox_store_ops),
                                                       .open = open_fake,
                                                       .close = close_fake,
                                                       .check = check,
                                                       .claim = claim,
                                                       .settle = settle,
                                                       .release = release}};

static void set_up_store(void)
{
    for (int i = 0; i < 4; i++) {
        rows[i] = message(i + 1);
        rows[i].payload.p = payload;
    }
    batch = (struct outbox_batch){.size = sizeof batch, .n = 4, .messages = row_ptrs};
    open_checked(&fake_store);
}

static int claim_and_release(uint32_t limit, uint64_t max_bytes)
{
    const struct outbox_claim asked = {
        .size = sizeof asked, .limit = limit, .max_bytes = max_bytes, .max_message = 100};
    struct outbox_batch *got = NULL;
    int r = checked->ops.store.claim(instance.self, &asked, &call, &got, &err);
    if (r == OUTBOX_OK)
        r = checked->ops.store.release(instance.self, got, &call, &err);
    return r;
}

START_TEST(a_sound_batch_is_not_told)
{
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_OK);
    ck_assert_str_eq(rules, "");
}
END_TEST

START_TEST(a_batch_is_within_its_limits_and_in_order)
{
    ck_assert_int_eq(claim_and_release(3, 1000), OUTBOX_E_BROKEN);
    ck_assert_int_eq(claim_and_release(4, 10), OUTBOX_OK);
    rows[2].seq = 2;
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_OK);
    ck_assert_str_eq(rules, " batch-limit batch-bytes batch-order");
}
END_TEST

START_TEST(a_message_has_what_it_must_have)
{
    static const struct outbox_header unended = {{"namex", 4}, {"v", 1}};
    rows[3].key.p = NULL;
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_E_BROKEN);
    rows[3].defect = outbox_cstr("it is not sent");
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_OK);
    rows[0].headers = &unended;
    rows[0].n_headers = 1;
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_E_BROKEN);
    ck_assert_str_eq(rules, " batch-message batch-message");
    store.none = true;
    ck_assert_int_eq(claim_and_release(4, 1000), OUTBOX_E_BROKEN);
    ck_assert_str_eq(rules, " batch-message batch-message unset-ret");
}
END_TEST

static int settle_all(size_t n)
{
    const struct outbox_claim asked = {.size = sizeof asked, .limit = 4};
    struct outbox_settle items[4];
    const struct outbox_settle *item_ptrs[4];
    uint8_t settled[5] = {9, 9, 9, 9, 9};
    struct outbox_batch *got = NULL;
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct outbox_settle){
            .size = sizeof items[i], .index = i, .action = OUTBOX_SETTLE_DONE};
        item_ptrs[i] = &items[i];
    }
    ck_assert_int_eq(checked->ops.store.claim(instance.self, &asked, &call, &got, &err), OUTBOX_OK);
    int r = checked->ops.store.settle(instance.self, got, item_ptrs, n, &call, settled, &err);
    ck_assert_uint_eq(settled[n - 1], store.settled);
    ck_assert_uint_eq(settled[n], 9);
    payload[0]++; /* as if the store used the memory for something else */
    ck_assert_int_eq(checked->ops.store.release(instance.self, got, &call, &err), OUTBOX_OK);
    return r;
}

START_TEST(what_became_of_a_message_has_a_number)
{
    store.settled = 4;
    ck_assert_int_eq(settle_all(4), OUTBOX_E_BROKEN);
    ck_assert_str_eq(rules, " outcome-number batch-changed");
}
END_TEST

START_TEST(settled_has_an_end)
{
    store.settled = OUTBOX_SETTLED_STALE;
    store.beyond = 1;
    ck_assert_int_eq(settle_all(3), OUTBOX_OK);
    ck_assert_str_eq(rules, " writes-beyond batch-changed");
}
END_TEST

/* ---- a rule ---- */

static int calls;
static bool wavers;

static int route(void *self, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *why)
{
    static char name[8];
    static const char *const names[] = {name};
    (void)self;
    (void)msg;
    (void)why;
    snprintf(name, sizeof name, "out%d", wavers ? calls++ : 0);
    ret->publishers = names;
    ret->n = 1;
    return OUTBOX_OK;
}

static const struct plugin rule = {.desc = {.kind = OUTBOX_KIND_RULE, .name = "fake"},
                                   .ops.rule = {.size = sizeof(struct outbox_rule_ops),
                                                .open = open_fake,
                                                .close = close_fake,
                                                .route = route}};

static void set_up_rule(void)
{
    open_checked(&rule);
}

START_TEST(a_rule_decides_once_for_a_message)
{
    struct outbox_message msg = message(1);
    struct outbox_decision decision = {.size = sizeof decision};
    ck_assert_int_eq(checked->ops.rule.route(instance.self, &msg, &decision, &err), OUTBOX_OK);
    ck_assert_uint_eq(decision.n, 1);
    ck_assert_str_eq(decision.publishers[0], "out0");
    ck_assert_str_eq(rules, "");
    wavers = true;
    ck_assert_int_eq(checked->ops.rule.route(instance.self, &msg, &decision, &err), OUTBOX_OK);
    ck_assert_str_eq(rules, " decision-changes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checked_kinds");
    TCase *tc = tcase_create("stores");
    tcase_add_checked_fixture(tc, set_up_store, close_checked);
    tcase_add_test(tc, a_sound_batch_is_not_told);
    tcase_add_test(tc, a_batch_is_within_its_limits_and_in_order);
    tcase_add_test(tc, a_message_has_what_it_must_have);
    tcase_add_test(tc, what_became_of_a_message_has_a_number);
    tcase_add_test(tc, settled_has_an_end);
    suite_add_tcase(suite, tc);
    tc = tcase_create("rules");
    tcase_add_checked_fixture(tc, set_up_rule, close_checked);
    tcase_add_test(tc, a_rule_decides_once_for_a_message);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
