/* SPDX-License-Identifier: Apache-2.0 */
/* Which relay died, and who deals with that. */
#include "policy/relay_state.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>

#define NOW INT64_C(1000000000000)
#define SECOND INT64_C(1000000)

static char state[3][512];
static struct outbox_relay_row rows[3];
static const struct outbox_relay_row *row_ptrs[3] = {&rows[0], &rows[1], &rows[2]};
static struct outbox_relay_page page;

/* A relay that ran on another host, and was seen so long ago. */
static void add(const char *id, const char *name, int64_t started_ago_s, int64_t alive_ago_s)
{
    struct outbox_relay_row *row = &rows[page.n];
    snprintf(state[page.n], sizeof state[0], "{\"process\":{\"host\":\"elsewhere\"}}");
    *row = (struct outbox_relay_row){.size = sizeof *row,
                                     .id = outbox_cstr(id),
                                     .name = outbox_cstr(name),
                                     .state = outbox_cstr(state[page.n]),
                                     .started_us = NOW - started_ago_s * SECOND,
                                     .alive_us = NOW - alive_ago_s * SECOND};
    page.n++;
}

/* The process of a row becomes this one, with members changed. */
static void set_process(size_t i, const char *name, struct json_object *value)
{
    struct json_object *object = json_object_new_object(), *process;
    ck_assert_int_eq(predecessor_add_self(object), 0);
    json_object_object_get_ex(object, "process", &process);
    if (name)
        json_object_object_add(process, name, value);
    snprintf(state[i], sizeof state[i], "%s", json_object_to_json_string(object));
    rows[i].state = outbox_cstr(state[i]);
    json_object_put(object);
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
    ck_assert(!is_mine(0)); /* of another host it is not known any better */
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

START_TEST(a_process_of_this_host_is_dead_as_soon_as_it_has_ended)
{
    add("other", "shop", 1000, 1);
    set_process(0, NULL, NULL);
    ck_assert(!is_mine(0)); /* it is this one */
    set_process(0, "start", json_object_new_int(1));
    ck_assert(is_mine(0)); /* its pid was given again */
    set_process(0, "pid", json_object_new_int(INT32_MAX));
    ck_assert(is_mine(0));
    set_process(0, "boot", json_object_new_string("an earlier one"));
    ck_assert(is_mine(0));
    set_process(0, "host", json_object_new_string("elsewhere"));
    ck_assert(!is_mine(0));
}
END_TEST

START_TEST(nonsense_in_a_row_counts_as_nothing_known)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{",
                                        "{\"process\":7}",
                                        "{\"process\":{}}",
                                        "{\"process\":{\"host\":[],\"boot\":null}}"};
    add("other", "shop", 1000, 1);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rows[0].state = outbox_cstr(texts[i]);
        ck_assert(!is_mine(0));
    }
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
    tcase_add_test(tc, a_process_of_this_host_is_dead_as_soon_as_it_has_ended);
    tcase_add_test(tc, nonsense_in_a_row_counts_as_nothing_known);
    tcase_add_test(tc, a_successor_that_lived_long_or_ended_cleanly_has_dealt_with_it);
    tcase_add_test(tc, a_successor_that_died_is_the_predecessor);
    tcase_add_test(tc, a_relay_that_ran_at_the_same_time_is_no_successor);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
