/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer that checks plugins tells of a publisher that submits and collects. */
#include "checked_case.h"

#include <time.h>

static struct {
    struct outbox_outcome *taken[4];
    size_t n;
    bool twice, foreign, hoards, number, edits;
    const struct outbox_message *last;
} queue;
static struct outbox_outcome nobodys;

static int submit(void *self, const struct outbox_message *const *msgs, uint64_t n,
                  const struct outbox_call *given, struct outbox_outcome *const *outcomes,
                  uint64_t *ret_n, struct outbox_err *why)
{
    (void)self;
    (void)given;
    (void)why;
    for (*ret_n = 0; *ret_n < n && queue.n < 2; ++*ret_n)
        queue.taken[queue.n++] = outcomes[*ret_n];
    queue.last = msgs[*ret_n - 1];
    return OUTBOX_OK;
}

/* From the last one on, which is any order. */
static int collect(void *self, const struct outbox_call *given, struct outbox_outcome *const **ret,
                   uint64_t *ret_n, struct outbox_err *why)
{
    static struct outbox_outcome *out[8];
    (void)self;
    (void)given;
    (void)why;
    *ret = out;
    *ret_n = 0;
    if (queue.edits)
        *(char *)(uintptr_t)queue.last->payload.p = 'X';
    while (queue.n > 0 && !queue.hoards) {
        struct outbox_outcome *outcome = queue.taken[--queue.n];
        outcome->verdict = queue.number ? 99 : OUTBOX_ACCEPTED;
        out[(*ret_n)++] = outcome;
        if (queue.twice)
            out[(*ret_n)++] = outcome;
    }
    if (queue.foreign)
        out[(*ret_n)++] = &nobodys;
    return OUTBOX_OK;
}

static const struct plugin submitter = {
    .desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "fake"},
    .ops.publisher = {.size = sizeof(struct outbox_publisher_ops),
                      .open = open_fake,
                      .close = close_fake,
                      .check = check,
                      .submit = submit,
                      .collect = collect}};

static struct outbox_message msgs[3];
static struct outbox_outcome outcomes[3];

/* Submits three, of which the plugin takes two. */
static void submit_three(uint32_t ms)
{
    const struct outbox_message *msg_ptrs[3];
    struct outbox_outcome *outcome_ptrs[3];
    const struct outbox_call within = {.size = sizeof within, .timeout_ms = ms, .cancel_fd = -1};
    uint64_t n = 77;
    for (int i = 0; i < 3; i++) {
        msgs[i] = message(i);
        outcomes[i] = (struct outbox_outcome){.size = sizeof outcomes[i]};
        msg_ptrs[i] = &msgs[i];
        outcome_ptrs[i] = &outcomes[i];
    }
    int r =
        checked->ops.publisher.submit(instance.self, msg_ptrs, 3, &within, outcome_ptrs, &n, &err);
    ck_assert_int_eq(r, OUTBOX_OK);
    ck_assert_uint_eq(n, 2);
}

static uint64_t collect_all(int expected)
{
    struct outbox_outcome *const *got = NULL;
    uint64_t n = 77;
    int r = checked->ops.publisher.collect(instance.self, &call, &got, &n, &err);
    ck_assert_int_eq(r, expected);
    for (uint64_t i = 0; i < n; i++)
        ck_assert(got[i] == &outcomes[0] || got[i] == &outcomes[1]);
    return n;
}

static void set_up_submitter(void)
{
    open_checked(&submitter);
}

START_TEST(what_was_submitted_comes_back_in_any_order)
{
    submit_three(20000);
    ck_assert_uint_eq(outcomes[0].verdict, OUTBOX_UNSET);
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 2);
    ck_assert_uint_eq(outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(outcomes[1].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(outcomes[2].verdict, OUTBOX_UNSET);
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 0);
    submit_three(20000); /* and is left behind at close */
    ck_assert_str_eq(rules, "");
}
END_TEST

START_TEST(what_was_not_submitted_is_not_handed_out)
{
    submit_three(20000);
    queue.twice = true;
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 2);
    ck_assert_str_eq(rules, " collects-unknown collects-unknown");
    queue.foreign = true;
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 0);
    ck_assert_str_eq(rules, " collects-unknown collects-unknown collects-unknown");
}
END_TEST

START_TEST(an_outcome_is_not_written_before_collect)
{
    submit_three(20000);
    queue.taken[0]->verdict = OUTBOX_ACCEPTED;
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 2);
    ck_assert_str_eq(rules, " writes-early");
}
END_TEST

START_TEST(a_message_has_its_outcome_in_time)
{
    const struct timespec pause = {.tv_nsec = (CHECKED_LATE_MS + 50) * 1000000};
    submit_three(1);
    queue.hoards = true;
    nanosleep(&pause, NULL);
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 0);
    ck_assert_str_eq(rules, " collects-late collects-late");
}
END_TEST

START_TEST(an_unknown_outcome_makes_the_instance_broken)
{
    submit_three(20000);
    queue.number = true;
    ck_assert_uint_eq(collect_all(OUTBOX_E_BROKEN), 2);
    ck_assert_uint_eq(outcomes[0].verdict, OUTBOX_UNSET);
    ck_assert_str_eq(rules, " outcome-number outcome-number");
    ck_assert_str_eq(err.text, "pub-fake broke the rule outcome-number of plugins");
}
END_TEST

START_TEST(a_submitted_message_is_not_changed)
{
    submit_three(20000);
    queue.edits = true;
    ck_assert_uint_eq(collect_all(OUTBOX_OK), 2);
    ck_assert_str_eq(rules, " changes-messages");
    ck_assert_str_eq(msgs[1].payload.p, "hello");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checked_collect");
    TCase *tc = tcase_create("submit and collect");
    tcase_add_checked_fixture(tc, set_up_submitter, close_checked);
    tcase_add_test(tc, what_was_submitted_comes_back_in_any_order);
    tcase_add_test(tc, what_was_not_submitted_is_not_handed_out);
    tcase_add_test(tc, an_outcome_is_not_written_before_collect);
    tcase_add_test(tc, a_message_has_its_outcome_in_time);
    tcase_add_test(tc, an_unknown_outcome_makes_the_instance_broken);
    tcase_add_test(tc, a_submitted_message_is_not_changed);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
