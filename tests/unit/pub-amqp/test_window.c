/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp's window: every confirm settles what it names, once, in whatever order it comes. */
#include "publish/window.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct window w;
/* By index: 0 not settled, 1 acked, 2 nacked. */
static int settled[100000];
static int n_settled;

static void note(void *ctx, const struct sent *sent, bool ack)
{
    ck_assert_ptr_eq(ctx, &w);
    ck_assert_int_eq(settled[sent->index], 0);
    settled[sent->index] = ack ? 1 : 2;
    n_settled++;
}

static const char *confirm(uint64_t tag, bool multiple, bool ack)
{
    return window_confirm(&w, tag, multiple, ack, note, &w);
}

static uint64_t hash_of(uint32_t i)
{
    char id[16];
    snprintf(id, sizeof id, "id-%u", i);
    return window_hash(id, strlen(id));
}

static void send_some(uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        ck_assert(window_has_room(&w, UINT32_MAX));
        window_add(&w, i, hash_of(i), i);
    }
}

static void set_up(void)
{
    ck_assert_int_eq(window_init(&w, 10), 0);
}

static void tear_down(void)
{
    window_free(&w);
}

START_TEST(single_confirms_out_of_order)
{
    send_some(0, 3);
    ck_assert_ptr_null(confirm(3, false, true));
    ck_assert_ptr_null(confirm(1, false, false));
    ck_assert_int_eq(settled[2], 1);
    ck_assert_int_eq(settled[0], 2);
    ck_assert_int_eq(settled[1], 0);
    ck_assert_uint_eq(w.live, 1);
    ck_assert_uint_eq(window_oldest(&w)->index, 1);
    ck_assert_ptr_null(confirm(2, false, true));
    ck_assert_ptr_null(window_oldest(&w));
}
END_TEST

START_TEST(multiple_settles_all_up_to_it_and_no_other)
{
    send_some(0, 6);
    ck_assert_ptr_null(confirm(2, false, false));
    ck_assert_ptr_null(confirm(4, true, true));
    ck_assert_int_eq(settled[0], 1);
    ck_assert_int_eq(settled[1], 2);
    ck_assert_int_eq(settled[3], 1);
    ck_assert_int_eq(settled[4], 0);
    ck_assert_ptr_null(confirm(6, true, false));
    ck_assert_int_eq(settled[5], 2);
    ck_assert_uint_eq(w.unconfirmed, 0);
}
END_TEST

START_TEST(tag_zero_means_all_of_them)
{
    send_some(0, 4);
    ck_assert_ptr_null(confirm(0, true, true));
    ck_assert_int_eq(n_settled, 4);
    ck_assert_ptr_null(confirm(0, true, true));
    ck_assert_ptr_nonnull(confirm(0, false, true));
}
END_TEST

START_TEST(repeating_is_harmless_contradicting_is_not)
{
    send_some(0, 3);
    ck_assert_ptr_null(confirm(1, false, true));
    ck_assert_ptr_null(confirm(1, false, true));
    ck_assert_ptr_null(confirm(2, true, true));
    ck_assert_ptr_null(confirm(2, true, true));
    ck_assert_int_eq(n_settled, 2);
    ck_assert_ptr_nonnull(confirm(1, false, false));
    ck_assert_ptr_null(confirm(3, false, false));
    ck_assert_ptr_nonnull(confirm(3, false, true));
    ck_assert_int_eq(n_settled, 3);
}
END_TEST

START_TEST(what_was_never_sent_cannot_be_confirmed)
{
    ck_assert_ptr_nonnull(confirm(1, false, true));
    send_some(0, 2);
    ck_assert_ptr_nonnull(confirm(3, false, true));
    ck_assert_ptr_nonnull(confirm(UINT64_MAX, true, true));
    ck_assert_int_eq(n_settled, 0);
}
END_TEST

START_TEST(forgotten_messages_settle_nothing)
{
    send_some(0, 3);
    ck_assert_ptr_null(confirm(2, false, true));
    window_forget(&w);
    ck_assert_uint_eq(w.live, 0);
    ck_assert_uint_eq(w.unconfirmed, 2);
    send_some(10, 2);
    ck_assert_uint_eq(w.live, 2);
    ck_assert_ptr_null(confirm(3, true, true));
    ck_assert_int_eq(n_settled, 1);
    ck_assert_uint_eq(w.unconfirmed, 2);
    ck_assert_ptr_null(confirm(5, true, true));
    ck_assert_int_eq(settled[10], 1);
    ck_assert_int_eq(settled[11], 1);
}
END_TEST

START_TEST(a_message_is_found_by_its_id_until_it_is_confirmed)
{
    send_some(0, 10);
    ck_assert(!window_has_room(&w, UINT32_MAX));
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_uint_eq(window_find(&w, hash_of(i))->index, i);
    ck_assert_ptr_null(window_find(&w, hash_of(10)));
    for (uint32_t i = 0; i < 10; i += 2) {
        ck_assert_ptr_null(confirm(i + 1, false, true));
        ck_assert_ptr_null(window_find(&w, hash_of(i)));
        ck_assert_ptr_nonnull(window_find(&w, hash_of(9)));
    }
    ck_assert(window_has_room(&w, UINT32_MAX));
    ck_assert(!window_has_room(&w, 5));
}
END_TEST

START_TEST(hashes_that_meet_do_not_mix)
{
    /* The same slot for all of them, with a gap in the middle. */
    for (uint32_t i = 0; i < 8; i++)
        window_add(&w, i, 7 + (uint64_t)i * 1024, 0);
    ck_assert_ptr_null(confirm(3, false, true));
    ck_assert_ptr_null(confirm(1, false, true));
    for (uint32_t i = 0; i < 8; i++) {
        struct sent *sent = window_find(&w, 7 + (uint64_t)i * 1024);
        if (i == 0 || i == 2)
            ck_assert_ptr_null(sent);
        else
            ck_assert_uint_eq(sent->index, i);
    }
}
END_TEST

START_TEST(a_hole_ends_the_room_before_the_ring_wraps)
{
    uint32_t sent = 0;
    send_some(sent++, 1); /* never confirmed */
    while (window_has_room(&w, UINT32_MAX)) {
        window_add(&w, sent, hash_of(sent), 0);
        sent++;
        ck_assert_ptr_null(confirm(sent, false, true));
    }
    ck_assert_uint_gt(sent, 10);
    ck_assert_uint_eq(window_oldest(&w)->index, 0);
    ck_assert_ptr_null(confirm(1, false, true));
    ck_assert(window_has_room(&w, UINT32_MAX));
}
END_TEST

START_TEST(a_restart_or_a_reset_concerns_all_of_them)
{
    send_some(20, 3);
    window_forget(&w);
    send_some(0, 5);
    ck_assert_ptr_null(confirm(5, false, true));
    ck_assert_uint_eq(w.live, 4);
    ck_assert_uint_eq(window_oldest(&w)->index, SENT_FORGOTTEN);
    window_restart(&w, 4711);
    ck_assert_int_eq(window_oldest(&w)->at_us, 4711);
    window_reset(&w);
    ck_assert_uint_eq(w.unconfirmed, 0);
    ck_assert_ptr_null(window_find(&w, hash_of(0)));
    send_some(50, 1);
    ck_assert_uint_eq(window_oldest(&w)->tag, 1);
}
END_TEST

/* Against a model that is too simple to be wrong. */
START_TEST(random_confirms_agree_with_a_model)
{
    static bool model[100000];
    unsigned seed = (unsigned)_i + 1;
    uint32_t sent = 0;
    for (int step = 0; step < 3000; step++) {
        if (window_has_room(&w, UINT32_MAX) && rand_r(&seed) % 2) {
            window_add(&w, sent, hash_of(sent), 0);
            model[sent++] = true;
        } else if (sent > 0) {
            uint32_t back = (uint32_t)rand_r(&seed) % 12;
            uint32_t index = sent - 1 - (back < sent ? back : 0);
            bool multiple = rand_r(&seed) % 4 == 0;
            ck_assert_ptr_null(confirm(index + 1, multiple, true));
            for (uint32_t i = multiple ? 0 : index; i <= index; i++)
                model[i] = false;
        }
        uint32_t waiting = 0;
        for (uint32_t i = sent > 60 ? sent - 60 : 0; i < sent; i++) {
            waiting += model[i];
            ck_assert_int_eq(settled[i], !model[i]);
            ck_assert(model[i] == (window_find(&w, hash_of(i)) != NULL));
        }
        ck_assert_uint_eq(w.unconfirmed, waiting);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp window");
    TCase *tc = tcase_create("amqp window");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, single_confirms_out_of_order);
    tcase_add_test(tc, multiple_settles_all_up_to_it_and_no_other);
    tcase_add_test(tc, tag_zero_means_all_of_them);
    tcase_add_test(tc, repeating_is_harmless_contradicting_is_not);
    tcase_add_test(tc, what_was_never_sent_cannot_be_confirmed);
    tcase_add_test(tc, forgotten_messages_settle_nothing);
    tcase_add_test(tc, a_message_is_found_by_its_id_until_it_is_confirmed);
    tcase_add_test(tc, hashes_that_meet_do_not_mix);
    tcase_add_test(tc, a_hole_ends_the_room_before_the_ring_wraps);
    tcase_add_test(tc, a_restart_or_a_reset_concerns_all_of_them);
    tcase_add_loop_test(tc, random_confirms_agree_with_a_model, 0, 3);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
