/* SPDX-License-Identifier: Apache-2.0 */
/* The SDK's helpers for waiting, reasons and headers; names and urls have tests of their own, as
 * pub-amqp uses them. */
#include "unit.h"

#include <outbox/template.h>
#include <outbox/wait.h>

#include <unistd.h>

static int64_t clock_us;

static int64_t fake_us(const struct outbox_host *host)
{
    (void)host;
    return clock_us;
}

static const struct outbox_host host = {.size = sizeof host, .monotonic_us = fake_us};
static int cancel_pipe[2], data_pipe[2];

static void set_up(void)
{
    ck_assert_int_eq(pipe(cancel_pipe), 0);
    ck_assert_int_eq(pipe(data_pipe), 0);
    clock_us = 1000000;
}

static struct outbox_deadline a_deadline(uint32_t timeout_ms, uint32_t grace_ms)
{
    struct outbox_call call = {.size = sizeof call,
                               .timeout_ms = timeout_ms,
                               .cancel_fd = cancel_pipe[0],
                               .grace_ms = grace_ms};
    struct outbox_deadline d;
    outbox_deadline_begin(&d, &host, &call);
    return d;
}

START_TEST(what_is_left_is_rounded_up_and_never_negative)
{
    struct outbox_deadline d = a_deadline(100, 0);
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 100);
    clock_us += 99001;
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 1);
    clock_us += 5000000;
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 0);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 0), OUTBOX_E_TIMEOUT);
    d = a_deadline(UINT32_MAX, 0);
    ck_assert_int_eq(outbox_deadline_left_ms(&d), INT32_MAX);
    outbox_deadline_shorten(&d, 7);
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 7);
    outbox_deadline_shorten(&d, 8);
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 7);
}
END_TEST

START_TEST(data_comes_before_a_cancel)
{
    struct outbox_deadline d = a_deadline(10000, 500);
    ck_assert_int_eq((int)write(data_pipe[1], "x", 1), 1);
    ck_assert_int_eq((int)write(cancel_pipe[1], "x", 1), 1);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 0), OUTBOX_OK);
    ck_assert(!d.cancelled);
}
END_TEST

START_TEST(a_cancel_can_be_asked_for)
{
    struct outbox_deadline d = a_deadline(60000, 50);
    ck_assert(!outbox_deadline_cancelled(&d));
    ck_assert_int_eq((int)write(cancel_pipe[1], "x", 1), 1);
    ck_assert(outbox_deadline_cancelled(&d));
    ck_assert(outbox_deadline_cancelled(&d));
    ck_assert_int_le(outbox_deadline_left_ms(&d), 50);
}
END_TEST

START_TEST(a_cancel_ends_what_has_not_begun)
{
    struct outbox_deadline d = a_deadline(10000, 500);
    ck_assert_int_eq((int)write(cancel_pipe[1], "x", 1), 1);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 0), OUTBOX_E_CANCELLED);
    ck_assert(d.cancelled);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 0), OUTBOX_E_CANCELLED);
}
END_TEST

START_TEST(what_has_begun_has_its_grace)
{
    struct outbox_deadline d = a_deadline(10000, 30);
    ck_assert_int_eq((int)write(cancel_pipe[1], "x", 1), 1);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 1), OUTBOX_E_TIMEOUT);
    ck_assert(d.cancelled);
    ck_assert_int_eq(outbox_deadline_left_ms(&d), 30);
    ck_assert_int_eq((int)write(data_pipe[1], "x", 1), 1);
    ck_assert_int_eq(outbox_wait(&d, data_pipe[0], POLLIN, 1), OUTBOX_OK);
}
END_TEST

START_TEST(reasons_live_until_they_are_cleared)
{
    struct outbox_reasons reasons = {NULL};
    struct outbox_outcome one = {.size = sizeof one}, two = {.size = sizeof two};
    outbox_reason(&reasons, &one, OUTBOX_RETRY, "%d and %s", 1, "one");
    outbox_reason(&reasons, &two, OUTBOX_LATER, "%02000d", 2);
    ck_assert_uint_eq(one.verdict, OUTBOX_RETRY);
    ck_assert(outbox_str_eq(one.reason, outbox_cstr("1 and one")));
    ck_assert_uint_eq(two.reason.n, 1023);
    outbox_reasons_clear(&reasons);
    ck_assert_ptr_null(reasons.first);
}
END_TEST

START_TEST(an_absent_header_is_null_and_an_empty_one_is_not)
{
    const struct outbox_header headers[] = {{{"a", 1}, {"1", 1}}, {{"b", 1}, {"", 0}}};
    const struct outbox_message msg = {.size = sizeof msg, .headers = headers, .n_headers = 2};
    ck_assert(outbox_str_eq(outbox_header_value(&msg, "a"), outbox_cstr("1")));
    ck_assert(outbox_header_value(&msg, "b").p && outbox_header_value(&msg, "b").n == 0);
    ck_assert_ptr_null(outbox_header_value(&msg, "c").p);
    char text[24];
    ck_assert_str_eq(outbox_int_text(INT64_MIN, text).p, "-9223372036854775808");
}
END_TEST

static int closed;
static void close_it(void *x)
{
    ck_assert_ptr_eq(x, &closed);
    closed++;
}

START_TEST(an_open_hands_out_all_or_nothing)
{
    void *ret = NULL;
    ck_assert_int_eq(outbox_opened(OUTBOX_E_RETRY, &closed, close_it, &ret), OUTBOX_E_RETRY);
    ck_assert_ptr_null(ret);
    ck_assert_int_eq(closed, 1);
    ck_assert_int_eq(outbox_opened(OUTBOX_OK, &closed, close_it, &ret), OUTBOX_OK);
    ck_assert_ptr_eq(ret, &closed);
    ck_assert_int_eq(closed, 1);
}
END_TEST

START_TEST(an_error_names_its_option_and_the_next_one_does_not)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_err old = {.size = offsetof(struct outbox_err, option), .option = "x"};
    ck_assert_int_eq(outbox_fail_option(&err, "url", "%s", "bad"), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.option, "url");
    outbox_fail(&err, OUTBOX_E_RETRY, "other");
    ck_assert_str_eq(err.option, "");
    outbox_fail_option(&old, "url", "bad");
    ck_assert_str_eq(old.option, "x"); /* an older host has no room for it */
    ck_assert_str_eq(old.text, "bad");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sdk helpers");
    TCase *tc = tcase_create("sdk helpers");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, what_is_left_is_rounded_up_and_never_negative);
    tcase_add_test(tc, data_comes_before_a_cancel);
    tcase_add_test(tc, a_cancel_can_be_asked_for);
    tcase_add_test(tc, a_cancel_ends_what_has_not_begun);
    tcase_add_test(tc, what_has_begun_has_its_grace);
    tcase_add_test(tc, reasons_live_until_they_are_cleared);
    tcase_add_test(tc, an_absent_header_is_null_and_an_empty_one_is_not);
    tcase_add_test(tc, an_open_hands_out_all_or_nothing);
    tcase_add_test(tc, an_error_names_its_option_and_the_next_one_does_not);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
