/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a relay lives is told by a lock beside the database. */
#include "sqlite_kind.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define T "outbox_messages"

static void put(struct store *s, const char *id, uint32_t clean)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_row row = {.size = sizeof row,
                                   .clean = clean,
                                   .id = str(id),
                                   .name = str("shop-1"),
                                   .config_hash = str("0"),
                                   .state = str("{}"),
                                   .version = str("0.1")};
    assert_class(store_relay_put(s, &row, CALL, &err), OUTBOX_OK, &err);
}

static uint32_t lives(struct store *s, const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_page *page;
    assert_class(store_relay_list(s, CALL, &page, &err), OUTBOX_OK, &err);
    for (uint32_t i = 0; i < page->n; i++)
        if (outbox_str_eq(page->rows[i]->id, str(id)))
            return page->rows[i]->lives;
    ck_abort_msg("%s is not in the list", id);
}

START_TEST(a_relay_lives_from_its_first_row_to_its_clean_end_or_close)
{
    struct store *a = an_instance(), *b = an_instance();
    put(a, "a", 0);
    put(b, "b", 0);
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_LIVES);
    ck_assert_uint_eq(lives(a, "a"), OUTBOX_RELAY_LIVES);
    ck_assert_uint_eq(lives(the_store(), "b"), OUTBOX_RELAY_LIVES);
    put(a, "a", 0);
    put(a, "a", 1);
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_DEAD);
    ck_assert_uint_eq(lives(the_store(), "b"), OUTBOX_RELAY_LIVES);
    store_close(b);
    ck_assert_uint_eq(lives(the_store(), "b"), OUTBOX_RELAY_DEAD);
}
END_TEST

static int ready[2];

static void live_on(void)
{
    put(an_instance(), "killed", 0);
    if (write(ready[1], "", 1) == 1)
        pause();
}

START_TEST(a_relay_that_is_killed_is_dead_at_once)
{
    char byte;
    int status;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = in_child(live_on);
    go();
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_uint_eq(lives(the_store(), "killed"), OUTBOX_RELAY_LIVES);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_uint_eq(lives(the_store(), "killed"), OUTBOX_RELAY_DEAD);
}
END_TEST

/* Somebody tidied up. */
START_TEST(a_lock_that_was_lost_is_taken_again)
{
    struct store *a = an_instance();
    char *path = scratch("shop.db-relays");
    struct stat db, lock;
    put(a, "a", 0);
    ck_assert_int_eq(stat(path, &lock), 0);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_UNKNOWN);
    put(a, "a", 0);
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_LIVES);
    char *of = scratch("shop.db");
    ck_assert_int_eq(stat(of, &db), 0);
    ck_assert_uint_eq(lock.st_mode & 0777, db.st_mode & 0666);
    free(of);
    free(path);
}
END_TEST

START_TEST(of_a_relay_that_could_not_lock_nothing_is_said)
{
    struct store *a = an_instance();
    char *path = scratch("shop.db-relays");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    put(a, "a", 0);
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_UNKNOWN);
    ck_assert_int_eq(rmdir(path), 0);
    put(a, "b", 0); /* the file is there now, but a is not in it */
    ck_assert_uint_eq(lives(the_store(), "a"), OUTBOX_RELAY_UNKNOWN);
    free(path);
}
END_TEST

START_TEST(a_time_that_cannot_be_read_is_none)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_page *page;
    put(the_store(), "a", 0);
    put(the_store(), "b", 0);
    execute("UPDATE " T "_relays SET alive_at = '-infinity', started_at = 'soon' WHERE id = 'a'");
    assert_class(store_relay_list(the_store(), CALL, &page, &err), OUTBOX_OK, &err);
    for (uint32_t i = 0; i < page->n; i++)
        if (outbox_str_eq(page->rows[i]->id, str("a")))
            ck_assert_int_eq(page->rows[i]->alive_us + page->rows[i]->started_us, 0);
    put(the_store(), "b", 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_relays"), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: relays");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "lives");
    tcase_add_test(tc, a_relay_lives_from_its_first_row_to_its_clean_end_or_close);
    tcase_add_test(tc, a_relay_that_is_killed_is_dead_at_once);
    tcase_add_test(tc, a_lock_that_was_lost_is_taken_again);
    tcase_add_test(tc, of_a_relay_that_could_not_lock_nothing_is_said);
    tcase_add_test(tc, a_time_that_cannot_be_read_is_none);
    return unit_main(suite);
}
