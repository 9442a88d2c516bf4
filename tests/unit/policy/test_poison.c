/* SPDX-License-Identifier: Apache-2.0 */
/* What a relay on probation writes down: who was in flight, and who is still suspect. */
#include "base/clock.h"
#include "policy/poison.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

static struct poison probation;
static struct outbox_message messages[4];
static const struct outbox_message *msgs[4];
static char ids[4][2];

/* Somebody died with these in flight. */
static void set_up(void)
{
    poison_init(&probation);
    for (size_t i = 0; i < 4; i++) {
        snprintf(ids[i], sizeof ids[i], "%c", (char)('a' + i));
        messages[i] =
            (struct outbox_message){.size = sizeof messages[i], .row_id = outbox_cstr(ids[i])};
        msgs[i] = &messages[i];
    }
    struct json_object *state =
        json_tokener_parse("{\"probation\":{\"in_flight\":[\"a\",\"b\",\"c\",\"d\"]}}");
    poison_begin(&probation, state, clock_monotonic_us());
    json_object_put(state);
}

static void tear_down(void)
{
    poison_destroy(&probation);
}

static void ck_state(const char *want)
{
    struct json_object *state = json_object_new_object();
    ck_assert_int_eq(poison_add_state(&probation, state), 0);
    const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN);
    ck_assert_msg(strstr(text, want) != NULL, "%s has no %s", text, want);
    json_object_put(state);
}

START_TEST(who_came_back_alive_is_cleared)
{
    ck_assert_uint_eq(poison_chunk_limit(&probation, msgs, 4), 2); /* halves */
    ck_assert_int_eq(poison_record(&probation, msgs, 2), 0);
    ck_state("\"in_flight\":[\"a\",\"b\"]");
    poison_clear(&probation);
    ck_state("{\"suspects\":[\"d\",\"c\"]}");
}
END_TEST

START_TEST(who_was_not_sent_after_all_is_suspect_still)
{
    ck_assert_int_eq(poison_record(&probation, msgs, 2), 0);
    poison_withdraw(&probation);
    ck_state("{\"suspects\":[\"a\",\"b\",\"c\",\"d\"]}");
    ck_assert(poison_is_suspected(&probation));
    ck_assert_int_eq(poison_record(&probation, msgs, 1), 0); /* the turn is free again */
    poison_clear(&probation);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("probation");
    TCase *tc = tcase_create("probation");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, who_came_back_alive_is_cleared);
    tcase_add_test(tc, who_was_not_sent_after_all_is_suspect_still);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
