/* SPDX-License-Identifier: Apache-2.0 */
/* What relays share that follow each other in one process. */
#include "relay/lineage.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

static struct outbox_relay_row row_of(const char *id)
{
    return (struct outbox_relay_row){.size = sizeof(struct outbox_relay_row),
                                     .id = outbox_cstr(id)};
}

START_TEST(rows_of_a_process_know_each_other)
{
    struct lineage *one = lineage_new(), *other = lineage_new();
    struct relay_row *first = lineage_new_row(one), *second = lineage_new_row(one);
    struct relay_row *foreign = lineage_new_row(other);
    ck_assert_str_ne(first->id, second->id);
    struct outbox_relay_row rows[] = {row_of(first->id), row_of(second->id), row_of(foreign->id),
                                      row_of("x"), row_of(NULL)};
    ck_assert(lineage_has(one, &rows[0]) && lineage_has(one, &rows[1]));
    ck_assert(!lineage_has(one, &rows[2]) && !lineage_has(one, &rows[3]) &&
              !lineage_has(one, &rows[4]));
    relay_row_free(first);
    relay_row_free(second);
    relay_row_free(foreign);
    lineage_free(one);
    lineage_free(other);
}
END_TEST

START_TEST(a_death_is_dealt_with_once)
{
    struct lineage *lineage = lineage_new();
    struct outbox_relay_row dead = row_of("a dead one"), other = row_of("another");
    ck_assert(!lineage_knows(lineage, &dead));
    ck_assert_int_eq(lineage_remember(lineage, &dead), 0);
    ck_assert(lineage_knows(lineage, &dead));
    ck_assert(!lineage_knows(lineage, &other));
    lineage_free(lineage);
}
END_TEST

START_TEST(what_is_shared_goes_with_its_last_owner)
{
    struct lineage *lineage = lineage_share(lineage_new());
    struct relay_row *row = relay_row_share(lineage_new_row(lineage));
    struct publisher_common *common = publisher_common_share(publisher_common_new());
    lineage_set_reload(lineage, json_object_new_object());
    lineage_free(lineage);
    relay_row_free(row);
    publisher_common_free(common);
    struct json_object *state = json_object_new_object(), *reload;
    ck_assert_int_eq(lineage_add_state(lineage, state), 0);
    ck_assert(json_object_object_get_ex(state, "reload", &reload));
    ck_assert_uint_eq(strlen(row->id), 36);
    ck_assert_uint_eq(breaker_enter(&common->breaker).limit, UINT32_MAX);
    json_object_put(state);
    lineage_free(lineage);
    relay_row_free(row);
    publisher_common_free(common);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lineage");
    TCase *tc = tcase_create("lineage");
    tcase_add_test(tc, rows_of_a_process_know_each_other);
    tcase_add_test(tc, a_death_is_dealt_with_once);
    tcase_add_test(tc, what_is_shared_goes_with_its_last_owner);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
