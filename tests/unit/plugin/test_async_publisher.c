/* SPDX-License-Identifier: Apache-2.0 */
/* The asynchronous form behind publisher_publish, and what the host says of a plugin that breaks
 * it. */
#include "plugin/publisher.h"
#include "plugin/store.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define N 5

/* What the plugin has, and how it behaves. */
static struct {
    struct outbox_outcome *held[N + 1];
    size_t n_held;
    size_t room;  /* how many it holds at most */
    size_t each;  /* how many it hands out at once */
    int keeps;    /* it hands out nothing */
    int submit_r; /* results, once */
    int collect_r;
    int more; /* how many it claims to have taken beyond what it has */
    int twice, foreign, endless, cancels;
    uint32_t opened, closed, submitted, publish_ms;
    char reason[32];
    uint32_t calls;
} fake;

static int cancel_fd;

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)cfg;
    (void)err;
    fake.opened++;
    fake.publish_ms = host->publish_ms;
    *ret = &fake;
    return OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
    fake.closed++;
    fake.n_held = 0;
    fake.keeps = 0;
}

static int submit(void *self, const struct outbox_message *const *msgs, uint64_t n,
                  const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                  uint64_t *ret_n, struct outbox_err *err)
{
    int r = fake.submit_r;
    (void)self;
    (void)msgs;
    (void)call;
    while (*ret_n < n && fake.n_held < fake.room)
        fake.held[fake.n_held++] = outcomes[(*ret_n)++];
    fake.submitted += (uint32_t)*ret_n;
    *ret_n += (uint64_t)fake.more;
    fake.submit_r = 0;
    if (fake.cancels)
        eventfd_write(cancel_fd, 1);
    return r < 0 ? outbox_fail(err, r, "the line is cut") : OUTBOX_OK;
}

/* The last one first, each with a reason that is overwritten by the next call. */
static int collect(void *self, const struct outbox_call *call, struct outbox_outcome *const **ret,
                   uint64_t *ret_n, struct outbox_err *err)
{
    static struct outbox_outcome *out[N + 1];
    static struct outbox_outcome other;
    int r = fake.collect_r;
    (void)self;
    (void)call;
    fake.collect_r = 0;
    snprintf(fake.reason, sizeof fake.reason, "call %u", fake.calls++);
    while (!fake.keeps && *ret_n < fake.each && fake.n_held > 0) {
        struct outbox_outcome *outcome = fake.held[--fake.n_held];
        outcome->verdict = OUTBOX_RETRY;
        outcome->reason = outbox_cstr(fake.reason);
        out[(*ret_n)++] = outcome;
    }
    if (fake.twice && *ret_n > 0)
        out[*ret_n] = out[*ret_n - 1], (*ret_n)++;
    if (fake.foreign)
        out[(*ret_n)++] = &other;
    *ret = fake.endless ? NULL : out;
    return r < 0 ? outbox_fail(err, r, "no word from the other side") : OUTBOX_OK;
}

static const struct plugin plugin = {
    .desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "fake"},
    .ops.publisher = {.open = open_fake, .close = close_fake, .submit = submit, .collect = collect},
};
static struct publisher publisher;
static struct outbox_message messages[N];
static const struct outbox_message *msgs[N];
static struct outbox_outcome outcomes[N], *pointers[N];
static struct outbox_err err;

static void set_up(void)
{
    const struct instance_setup setup = {.plugin = &plugin, .publish_ms = 4711};
    memset(&fake, 0, sizeof fake);
    fake.room = fake.each = N;
    for (size_t i = 0; i < N; i++) {
        msgs[i] = &messages[i];
        pointers[i] = &outcomes[i];
        outcomes[i].verdict = 99;
    }
    err = (struct outbox_err){.size = sizeof err};
    cancel_fd = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(publisher_open(&publisher, &setup, "out", &err), 0);
}

static void tear_down(void)
{
    publisher_close(&publisher);
    ck_assert_uint_eq(fake.opened, fake.closed);
    close(cancel_fd);
}

static int publish(uint32_t timeout_ms)
{
    struct outbox_call call = store_call(timeout_ms, cancel_fd);
    call.grace_ms = 50;
    return publisher_publish(&publisher, msgs, N, &call, pointers, &err);
}

static size_t n_answered(void)
{
    size_t n = 0;
    for (size_t i = 0; i < N; i++) {
        ck_assert_uint_ne(outcomes[i].verdict, 99);
        n += outcomes[i].verdict != OUTBOX_UNSET;
    }
    return n;
}

START_TEST(outcomes_come_in_any_order_and_their_reasons_stay)
{
    fake.each = 2;
    ck_assert_int_eq(publish(5000), OUTBOX_OK);
    ck_assert_uint_eq(n_answered(), N);
    ck_assert(outbox_str_eq(outcomes[4].reason, outbox_cstr("call 0")));
    ck_assert(outbox_str_eq(outcomes[2].reason, outbox_cstr("call 1")));
    ck_assert(outbox_str_eq(outcomes[0].reason, outbox_cstr("call 2")));
    ck_assert_uint_eq(publisher.in_flight.n, 0);
    ck_assert_uint_eq(fake.publish_ms, 4711);
}
END_TEST

START_TEST(a_queue_that_is_full_is_filled_again)
{
    fake.room = 2;
    ck_assert_int_eq(publish(5000), OUTBOX_OK);
    ck_assert_uint_eq(n_answered(), N);
    fake.room = 0;
    ck_assert_int_eq(publish(30), OUTBOX_E_TIMEOUT);
    ck_assert_str_eq(err.text, "its queue was full for too long");
    ck_assert_uint_eq(n_answered(), 0);
}
END_TEST

START_TEST(what_was_taken_before_an_error_has_its_outcome)
{
    fake.room = 2;
    fake.submit_r = OUTBOX_E_CONFIG;
    ck_assert_int_eq(publish(5000), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, "the line is cut");
    ck_assert_uint_eq(n_answered(), 2);
    ck_assert_uint_eq(fake.submitted, 2);
    fake.room = N;
    fake.each = 2;
    fake.collect_r = OUTBOX_E_RETRY;
    ck_assert_int_eq(publish(5000), OUTBOX_E_RETRY);
    ck_assert_str_eq(err.text, "no word from the other side");
    ck_assert_uint_eq(n_answered(), N);
}
END_TEST

/* The verdicts of those that it did hand out count. */
static void is_named_and_closed(size_t n, const char *text)
{
    ck_assert_int_eq(publish(20), OUTBOX_E_BROKEN);
    ck_assert_str_eq(err.text, text);
    ck_assert_uint_eq(n_answered(), n);
    ck_assert_uint_eq(publisher.in_flight.n, 0);
    fake.twice = fake.foreign = fake.endless = fake.more = 0;
    ck_assert_int_eq(publish(5000), OUTBOX_OK);
    ck_assert_uint_eq(n_answered(), N);
    ck_assert_uint_eq(fake.opened, 2);
}

START_TEST(a_plugin_that_keeps_messages_is_closed)
{
    fake.keeps = 1;
    is_named_and_closed(0, "pub-fake is broken: in `collect` it keeps messages past their time");
}
END_TEST

START_TEST(a_plugin_that_hands_out_twice_is_closed)
{
    fake.twice = 1;
    fake.each = 1;
    is_named_and_closed(
        1,
        "pub-fake is broken: in `collect` it handed out an outcome that it did not have, or twice");
}
END_TEST

START_TEST(a_plugin_that_hands_out_what_it_never_got_is_closed)
{
    fake.foreign = 1;
    is_named_and_closed(
        N,
        "pub-fake is broken: in `collect` it handed out an outcome that it did not have, or twice");
}
END_TEST

START_TEST(a_plugin_that_hands_out_no_array_is_closed)
{
    fake.endless = 1;
    fake.each = 1;
    ck_assert_int_eq(publish(20), OUTBOX_E_BROKEN);
    ck_assert_uint_eq(publisher.in_flight.n, 0);
}
END_TEST

START_TEST(a_plugin_that_takes_too_much_is_closed)
{
    fake.more = 2;
    is_named_and_closed(0,
                        "pub-fake is broken: in `submit` it took more messages than it was given");
}
END_TEST

START_TEST(after_a_cancel_nothing_is_begun_and_what_is_begun_has_the_grace)
{
    fake.cancels = 1;
    fake.room = fake.each = 2;
    ck_assert_int_eq(publish(60000), OUTBOX_E_CANCELLED);
    ck_assert_uint_eq(fake.submitted, 2);
    ck_assert_uint_eq(n_answered(), 2);
    fake.keeps = 1;
    ck_assert_int_eq(publish(60000), OUTBOX_E_CANCELLED);
    ck_assert_uint_eq(fake.submitted, 2);
    ck_assert_uint_eq(n_answered(), 0);
}
END_TEST

START_TEST(a_broken_instance_stays_until_its_messages_are_taken_back)
{
    struct outbox_call call = store_call(0, -1);
    struct outbox_outcome *const *ret;
    uint64_t n = 0;
    ck_assert_int_eq(publisher_submit(&publisher, msgs, N, &call, pointers, &n, &err), OUTBOX_OK);
    ck_assert_uint_eq(n, N);
    fake.keeps = 1;
    fake.collect_r = OUTBOX_E_BROKEN;
    ck_assert_int_eq(publisher_collect(&publisher, &call, &ret, &n, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(publisher_check(&publisher, &call, &err), OUTBOX_E_BROKEN);
    ck_assert_str_eq(err.text, "the publisher out broke while it had messages");
    ck_assert_int_eq(publisher_collect(&publisher, &call, &ret, &n, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(publisher_submit(&publisher, msgs, N, &call, pointers, &n, &err),
                     OUTBOX_E_BROKEN);
    ck_assert_uint_eq(fake.closed, 0);
    publisher_close_instance(&publisher);
    ck_assert_int_eq(publish(5000), OUTBOX_OK);
}
END_TEST

START_TEST(many_pointers_are_found_again)
{
    enum { MANY = 3000 };
    static struct outbox_outcome many[MANY];
    struct in_flight set = {0};
    ck_assert(!in_flight_remove(&set, &many[0]));
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            ck_assert_int_eq(in_flight_reserve(&set, 1), 0);
            in_flight_add(&set, &many[i]);
        }
        for (size_t i = 0, k = round; i < MANY; i++, k = (k + 1237) % MANY) {
            ck_assert(in_flight_remove(&set, &many[k]));
            ck_assert(!in_flight_remove(&set, &many[k]));
        }
        ck_assert_uint_eq(set.n, 0);
    }
    in_flight_clear(&set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("async_publisher");
    TCase *tc = tcase_create("async_publisher");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, outcomes_come_in_any_order_and_their_reasons_stay);
    tcase_add_test(tc, a_queue_that_is_full_is_filled_again);
    tcase_add_test(tc, what_was_taken_before_an_error_has_its_outcome);
    tcase_add_test(tc, a_plugin_that_keeps_messages_is_closed);
    tcase_add_test(tc, a_plugin_that_hands_out_twice_is_closed);
    tcase_add_test(tc, a_plugin_that_hands_out_what_it_never_got_is_closed);
    tcase_add_test(tc, a_plugin_that_hands_out_no_array_is_closed);
    tcase_add_test(tc, a_plugin_that_takes_too_much_is_closed);
    tcase_add_test(tc, after_a_cancel_nothing_is_begun_and_what_is_begun_has_the_grace);
    tcase_add_test(tc, a_broken_instance_stays_until_its_messages_are_taken_back);
    tcase_add_test(tc, many_pointers_are_found_again);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
