/* SPDX-License-Identifier: Apache-2.0 */
/* What a relay records after a death: which messages are in flight, and which are suspect. */
#include "base/clock.h"
#include "policy/poison.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

static struct poison poison;
static struct outbox_message messages[4];
static const struct outbox_message *msgs[4];
static char ids[4][2];

/* Somebody died with these in flight. */
static void set_up(void)
{
    poison_init(&poison);
    for (size_t i = 0; i < 4; i++) {
        snprintf(ids[i], sizeof ids[i], "%c", (char)('a' + i));
        messages[i] =
            (struct outbox_message){.size = sizeof messages[i], .row_id = outbox_cstr(ids[i])};
        msgs[i] = &messages[i];
    }
    struct json_object *state =
        json_tokener_parse("{\"probation\":{\"in_flight\":[\"a\",\"b\",\"c\",\"d\"]}}");
    poison_begin(&poison, state, clock_monotonic_us());
    json_object_put(state);
}

static void tear_down(void)
{
    poison_destroy(&poison);
}

static void ck_state(const char *want)
{
    struct json_object *state = json_object_new_object();
    ck_assert_int_eq(poison_add_state(&poison, state), 0);
    const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN);
    ck_assert_msg(strstr(text, want) != NULL, "%s has no %s", text, want);
    json_object_put(state);
}

/* How many of the messages from `first` on are in flight together. */
static size_t record(size_t first)
{
    return poison_record(&poison, msgs + first, 4 - first);
}

/* Another relay dies with this state, and the next one takes over. */
static void die(const char *text)
{
    struct json_object *state = json_tokener_parse(text);
    poison_begin(&poison, state, clock_monotonic_us());
    json_object_put(state);
}

START_TEST(what_survived_is_cleared)
{
    ck_assert_uint_eq(record(0), 2); /* halves */
    ck_state("\"in_flight\":[\"a\",\"b\"]");
    poison_clear(&poison, true);
    ck_state("{\"suspects\":[\"c\",\"d\"]}");
    ck_assert_uint_eq(record(2), 2);
    poison_clear(&poison, true);
    ck_assert(!poison_is_suspected(&poison));
}
END_TEST

START_TEST(what_was_not_sent_is_suspect_still)
{
    ck_assert_uint_eq(record(0), 2);
    poison_clear(&poison, false);
    ck_state("{\"suspects\":[\"a\",\"b\",\"c\",\"d\"]}");
    ck_assert(poison_is_suspected(&poison));
    ck_assert_uint_eq(record(3), 1); /* no other chunk is in flight */
    poison_clear(&poison, true);
}
END_TEST

START_TEST(deaths_halve_the_suspects_down_to_one_which_the_next_death_charges)
{
    die("{\"probation\":{\"in_flight\":[\"c\",\"d\"],\"suspects\":[\"a\",\"b\",\"c\",\"d\"]}}");
    ck_state("{\"suspects\":[\"c\",\"d\"]}");
    ck_assert_uint_eq(record(0), 2); /* a and b are cleared, and not sent with c */
    poison_clear(&poison, true);
    ck_assert_uint_eq(record(2), 1);
    poison_clear(&poison, false);
    ck_assert(!poison_pop_charge(&poison, msgs[2]->row_id));
    die("{\"probation\":{\"in_flight\":[\"c\"],\"suspects\":[\"c\",\"d\"]}}");
    ck_state("{\"suspects\":[\"d\"],\"alone\":[\"c\"]}");
    ck_assert(!poison_pop_charge(&poison, msgs[2]->row_id)); /* it may have been a kill */
    die("{\"probation\":{\"in_flight\":[\"c\"],\"suspects\":[\"d\"],\"alone\":[\"c\"]}}");
    ck_state("{\"suspects\":[\"d\"],\"alone\":[\"c\"],\"charges\":[\"c\"]}");
    ck_assert(poison_pop_charge(&poison, msgs[2]->row_id));
    ck_assert(!poison_pop_charge(&poison, msgs[2]->row_id));
    ck_assert(!poison_pop_charge(&poison, msgs[3]->row_id));
    ck_state("\"alone\":[\"c\"]}");
}
END_TEST

START_TEST(what_was_found_goes_alone_until_it_survives)
{
    die("{\"probation\":{\"in_flight\":[\"b\"]}}");
    die("{\"probation\":{\"in_flight\":[\"a\",\"c\",\"d\"],\"alone\":[\"b\"]}}");
    ck_assert_uint_eq(record(0), 1); /* not with b */
    poison_clear(&poison, true);
    ck_assert_uint_eq(record(1), 1);
    poison_clear(&poison, true);
    ck_assert_uint_eq(record(1), 1); /* accepted for once: b is as any other, c is suspect */
    poison_clear(&poison, true);
}
END_TEST

START_TEST(what_comes_with_a_death_of_which_nothing_is_known_is_recorded_for_a_while)
{
    struct poison other;
    poison_init(&other);
    ck_assert(!poison_is_suspected(&other));
    poison_begin(&other, NULL, clock_monotonic_us() + 60000000);
    ck_assert(poison_is_suspected(&other));
    ck_assert_uint_eq(poison_record(&other, msgs, 4), 4); /* no one is suspect */
    poison_clear(&other, true);
    other.until_us = clock_monotonic_us();
    ck_assert(!poison_is_suspected(&other));
    poison_destroy(&other);
}
END_TEST

START_TEST(suspects_that_never_come_are_forgotten)
{
    poison.until_us = clock_monotonic_us() - INT64_C(899000000);
    ck_assert(poison_is_suspected(&poison));
    poison.until_us -= 1000000;
    ck_assert(!poison_is_suspected(&poison));
}
END_TEST

START_TEST(nonsense_in_a_row_is_passed_over)
{
    static const char *const texts[] = {
        "{}", "{\"probation\":7}", "{\"probation\":{\"in_flight\":{}}}",
        "{\"probation\":{\"in_flight\":[1,null,[]],\"alone\":\"a\"}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        die(texts[i]);
    ck_state("{\"suspects\":[\"a\",\"b\",\"c\",\"d\"]}");
}
END_TEST

/* Each id is looked for among the others, under a lock. */
START_TEST(a_list_that_no_relay_wrote_is_cut)
{
    struct json_object *state = json_tokener_parse("{\"probation\":{\"in_flight\":[]}}");
    struct json_object *all, *list;
    char id[16];
    json_object_object_get_ex(state, "probation", &all);
    json_object_object_get_ex(all, "in_flight", &list);
    for (int i = 0; i < 60000; i++) {
        snprintf(id, sizeof id, "id-%d", i);
        json_object_array_add(list, json_object_new_string(id));
    }
    int64_t began_us = clock_monotonic_us();
    poison_begin(&poison, state, began_us);
    ck_assert_int_lt(clock_monotonic_us() - began_us, 2000000);
    ck_assert_uint_eq(json_object_array_length(poison.lists[POISON_SUSPECTS]), 1000);
    json_object_put(state);
}
END_TEST

START_TEST(what_is_found_and_alone_in_flight_again_would_be_charged)
{
    static const struct {
        const char *text;
        bool charges;
    } states[] = {{"{\"probation\":{\"in_flight\":[\"a\"],\"alone\":[\"b\",\"a\"]}}", true},
                  {"{\"probation\":{\"in_flight\":[\"a\"],\"alone\":[\"b\"]}}", false},
                  {"{\"probation\":{\"in_flight\":[\"a\"]}}", false},
                  {"{\"probation\":{\"in_flight\":[\"a\",\"b\"]}}", false},
                  {"{\"probation\":{\"suspects\":[\"a\"]}}", false},
                  {"{}", false}};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct json_object *state = json_tokener_parse(states[i].text);
        ck_assert_int_eq(poison_would_charge(state), states[i].charges);
        json_object_put(state);
    }
    ck_assert(!poison_would_charge(NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("poison");
    TCase *tc = tcase_create("poison");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, what_survived_is_cleared);
    tcase_add_test(tc, what_was_not_sent_is_suspect_still);
    tcase_add_test(tc, deaths_halve_the_suspects_down_to_one_which_the_next_death_charges);
    tcase_add_test(tc, what_was_found_goes_alone_until_it_survives);
    tcase_add_test(tc, what_comes_with_a_death_of_which_nothing_is_known_is_recorded_for_a_while);
    tcase_add_test(tc, suspects_that_never_come_are_forgotten);
    tcase_add_test(tc, nonsense_in_a_row_is_passed_over);
    tcase_add_test(tc, a_list_that_no_relay_wrote_is_cut);
    tcase_add_test(tc, what_is_found_and_alone_in_flight_again_would_be_charged);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
