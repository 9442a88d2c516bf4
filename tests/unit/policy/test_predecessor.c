/* SPDX-License-Identifier: Apache-2.0 */
/* Which relay died, and who deals with that. */
#include "policy/relay_state.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stddef.h>

#define NOW INT64_C(1000000000000)
#define SECOND INT64_C(1000000)

static struct outbox_relay_row rows[3];
static const struct outbox_relay_row *row_ptrs[3] = {&rows[0], &rows[1], &rows[2]};
static struct outbox_relay_page page;

/* A relay of which the database cannot tell whether it lives. */
static void add(const char *id, const char *name, int64_t started_ago_s, int64_t alive_ago_s)
{
    rows[page.n++] = (struct outbox_relay_row){.size = sizeof rows[0],
                                               .id = outbox_cstr(id),
                                               .name = outbox_cstr(name),
                                               .started_us = NOW - started_ago_s * SECOND,
                                               .alive_us = NOW - alive_ago_s * SECOND};
}

static void set_up(void)
{
    page = (struct outbox_relay_page){.size = sizeof page, .rows = row_ptrs, .now_us = NOW};
}

static bool is_mine(size_t i)
{
    return predecessor_is(&page, &rows[i], "shop", "me");
}

START_TEST(a_relay_that_is_silent_for_long_is_dead)
{
    add("other", "shop", 1000, 91);
    ck_assert(is_mine(0));
    rows[0].alive_us = NOW - 89 * SECOND;
    ck_assert(!is_mine(0));
    rows[0].alive_us = NOW - 91 * SECOND;
    rows[0].clean = 1;
    ck_assert(!is_mine(0));
}
END_TEST

START_TEST(only_a_relay_of_the_same_name_is_a_predecessor_and_never_oneself)
{
    add("other", "shop-2", 1000, 91);
    add("me", "shop", 1000, 91);
    ck_assert(!is_mine(0));
    ck_assert(!is_mine(1));
}
END_TEST

START_TEST(the_database_knows_better_than_the_time)
{
    add("other", "shop", 1000, 1);
    ck_assert(!is_mine(0));
    rows[0].lives = OUTBOX_RELAY_DEAD;
    ck_assert(is_mine(0));
    ck_assert(!relay_state_is_live(&page, &rows[0]));
    rows[0].alive_us = NOW - 1000 * SECOND;
    rows[0].lives = OUTBOX_RELAY_LIVES;
    ck_assert(!is_mine(0));
    ck_assert(relay_state_is_live(&page, &rows[0]));
    rows[0].clean = 1;
    ck_assert(!relay_state_is_live(&page, &rows[0]));
}
END_TEST

START_TEST(a_store_that_does_not_know_of_it_cannot_tell)
{
    add("other", "shop", 1000, 1);
    rows[0].lives = OUTBOX_RELAY_DEAD;
    rows[0].size = offsetof(struct outbox_relay_row, lives);
    ck_assert(!is_mine(0));
}
END_TEST

START_TEST(a_successor_that_lived_long_or_ended_cleanly_has_dealt_with_it)
{
    add("dead", "shop", 2000, 1000);
    add("successor", "shop", 900, 1);
    ck_assert(!is_mine(0));
    rows[1].started_us = NOW - 500 * SECOND;
    ck_assert(is_mine(0)); /* not long enough: both do */
    rows[1].clean = 1;
    ck_assert(!is_mine(0));
}
END_TEST

/* Else it would be dealt with again by each relay that follows: what it knew it has passed on. */
START_TEST(a_successor_that_died_is_the_predecessor)
{
    add("dead", "shop", 2000, 1000);
    add("successor", "shop", 900, 500);
    ck_assert(!is_mine(0));
    ck_assert(is_mine(1));
}
END_TEST

START_TEST(a_relay_that_ran_at_the_same_time_is_no_successor)
{
    add("dead", "shop", 2000, 1000);
    add("neighbour", "shop", 1500, 1);
    add("of another name", "shop-2", 900, 1);
    ck_assert(is_mine(0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("predecessor");
    TCase *tc = tcase_create("predecessor");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, a_relay_that_is_silent_for_long_is_dead);
    tcase_add_test(tc, only_a_relay_of_the_same_name_is_a_predecessor_and_never_oneself);
    tcase_add_test(tc, the_database_knows_better_than_the_time);
    tcase_add_test(tc, a_store_that_does_not_know_of_it_cannot_tell);
    tcase_add_test(tc, a_successor_that_lived_long_or_ended_cleanly_has_dealt_with_it);
    tcase_add_test(tc, a_successor_that_died_is_the_predecessor);
    tcase_add_test(tc, a_relay_that_ran_at_the_same_time_is_no_successor);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
