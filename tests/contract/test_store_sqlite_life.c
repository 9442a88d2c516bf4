/* SPDX-License-Identifier: Apache-2.0 */
/* What happens around the database: locks, deadlines; missing, moved and full files. */
#include "sqlite_kind.h"
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define T "outbox_messages"

static int try_claim(struct store *s, struct outbox_call call, struct outbox_err *err)
{
    struct outbox_batch *batch;
    struct outbox_claim what = {.size = sizeof what,
                                .limit = 10,
                                .lease_ms = LEASE_MS,
                                .max_bytes = 1 << 20,
                                .max_message = 1 << 20};
    *err = (struct outbox_err){.size = sizeof *err};
    int r = store_claim(s, &what, &call, &batch, err);
    if (r == 0)
        release(s, batch);
    return r;
}

static int try_settle(struct outbox_batch *batch, struct outbox_call call, struct outbox_err *err)
{
    struct outbox_settle item = {.size = sizeof item, .action = OUTBOX_SETTLE_DONE};
    const struct outbox_settle *items[] = {&item};
    uint8_t stale[1] = {9};
    *err = (struct outbox_err){.size = sizeof *err};
    int r = store_settle(the_store(), batch, items, 1, &call, stale, err);
    ck_assert(r != 0 || stale[0] == 0);
    return r;
}

/* ---- locks and deadlines ---- */

START_TEST(a_writer_that_holds_the_lock_costs_the_deadline_and_no_more)
{
    struct outbox_err err;
    produce(2);
    struct outbox_batch *batch = claim(the_store(), 1, LEASE_MS);
    execute("BEGIN IMMEDIATE");
    int64_t begun = now_ms();
    assert_class(try_settle(batch, within(300), &err), OUTBOX_E_TIMEOUT, &err);
    ck_assert_int_ge(now_ms() - begun, 290);
    ck_assert_int_lt(now_ms() - begun, 20000);
    assert_class(try_claim(an_instance(), within(300), &err), OUTBOX_E_TIMEOUT, &err);
    execute("COMMIT");
    assert_class(try_settle(batch, within(30000), &err), OUTBOX_OK, &err);
    release(the_store(), batch);
    assert_class(try_claim(the_store(), within(30000), &err), OUTBOX_OK, &err);
}
END_TEST

static void *make_readable(void *fd)
{
    sleep_ms(100);
    eventfd_write(*(int *)fd, 1);
    return NULL;
}

START_TEST(a_call_comes_back_early_when_the_host_wants_it)
{
    struct outbox_err err;
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);
    struct outbox_call call = within(60000);
    call.cancel_fd = fd;
    produce(1);
    execute("BEGIN IMMEDIATE");
    pthread_create(&thread, NULL, make_readable, &fd);
    int64_t begun = now_ms();
    assert_class(try_claim(the_store(), call, &err), OUTBOX_E_CANCELLED, &err);
    ck_assert_int_lt(now_ms() - begun, 20000); /* less than busy_timeout */
    pthread_join(thread, NULL);
    execute("ROLLBACK");
    assert_class(store_wait(the_store(), &call, &err), OUTBOX_OK, &err); /* the first look */
    assert_class(store_wait(the_store(), &call, &err), OUTBOX_E_CANCELLED, &err);
    close(fd);
}
END_TEST

START_TEST(readers_do_not_disturb)
{
    struct outbox_err err;
    produce(2);
    execute("BEGIN");
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 2);
    assert_class(try_claim(the_store(), within(1000), &err), OUTBOX_OK, &err);
    execute("COMMIT");
}
END_TEST

START_TEST(an_idle_relay_writes_nothing)
{
    struct outbox_err err;
    execute("INSERT INTO " T " (topic, available_at, status) VALUES"
            " ('t', datetime('now', '+1 day'), 'pending'), ('t', NULL, 'failed')");
    assert_class(try_claim(the_store(), within(1000), &err), OUTBOX_OK, &err);
    int64_t version = number("PRAGMA data_version");
    for (int i = 0; i < 200; i++)
        assert_class(try_claim(the_store(), within(1000), &err), OUTBOX_OK, &err);
    ck_assert_int_eq(number("PRAGMA data_version"), version);
    execute("BEGIN IMMEDIATE"); /* it does not even ask for the lock */
    assert_class(try_claim(the_store(), within(300), &err), OUTBOX_OK, &err);
    execute("ROLLBACK");
}
END_TEST

START_TEST(a_database_that_is_in_use_is_waited_for_before_it_becomes_wal)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    struct outbox_call call = within(300);
    sqlite3 *db = open_db("old.db");
    run_sql(db, "CREATE TABLE mine (x); BEGIN IMMEDIATE");
    use_path(the_options(), "old.db");
    struct store *s = an_instance();
    int64_t begun = now_ms();
    assert_class(store_init(s, &call, &done, &err), OUTBOX_E_TIMEOUT, &err);
    ck_assert_int_ge(now_ms() - begun, 290);
    run_sql(db, "COMMIT");
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    sqlite3_close(db);
}
END_TEST

/* ---- files ---- */

START_TEST(a_missing_file_is_not_made_and_the_error_says_what_to_do)
{
    struct outbox_err err;
    char *path = scratch("none.db");
    use_path(the_options(), "none.db");
    struct store *s = an_instance();
    assert_class(try_claim(s, within(1000), &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "outboxd init"));
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "none.db"));
    ck_assert_int_ne(access(path, F_OK), 0);
    sqlite3 *db = open_db("none.db");
    run_sql(db, "CREATE TABLE mine (x)");
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "outboxd init"));
    sqlite3_close(db);
    free(path);
}
END_TEST

START_TEST(a_newer_table_is_refused_and_one_that_only_adds_is_not)
{
    struct outbox_err err = {.size = sizeof err};
    execute("UPDATE " T "_schema SET version = 7");
    assert_class(store_check(the_store(), CALL, &err), OUTBOX_OK, &err);
    execute("UPDATE " T "_schema SET needs = 7");
    assert_class(store_check(the_store(), CALL, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "newer outboxd"));
    ck_assert_ptr_nonnull(strstr(err.text, "7"));
    assert_class(try_claim(an_instance(), within(1000), &err), OUTBOX_E_CONFIG, &err);
    struct outbox_str done;
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
}
END_TEST

START_TEST(what_is_no_database_is_refused_and_left_alone)
{
    struct outbox_err err;
    struct outbox_str done;
    char *path = scratch("junk.db"), text[16] = "";
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("not a database, and longer than its header would be .......................", f);
    for (int i = 0; i < 1000; i++)
        fputs("junk", f);
    fclose(f);
    use_path(the_options(), "junk.db");
    assert_class(try_claim(an_instance(), within(1000), &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "junk.db"));
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
    ck_assert_str_eq(text, "not a database,");
    fclose(f);
    free(path);
    use_path(the_options(), "no/such/folder.db");
    assert_class(try_claim(an_instance(), within(1000), &err), OUTBOX_E_CONFIG, &err);
    use_path(the_options(), "");
    assert_class(try_claim(an_instance(), within(1000), &err), OUTBOX_E_CONFIG, &err);
}
END_TEST

/* A backup put back, while a relay runs. */
START_TEST(a_replaced_file_is_noticed)
{
    struct outbox_err err;
    struct outbox_str done;
    char *here = scratch("shop.db"), *there = scratch("new.db");
    char *log = scratch("shop.db-wal"), *index = scratch("shop.db-shm");
    assert_class(try_claim(the_store(), within(1000), &err), OUTBOX_OK, &err);
    use_path(the_options(), "new.db");
    struct store *other = an_instance();
    assert_class(store_init(other, CALL, &done, &err), OUTBOX_OK, &err);
    store_close(other);
    sqlite3 *db = open_db("new.db");
    run_sql(db, "INSERT INTO " T " (topic) VALUES ('new')");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    execute("PRAGMA wal_checkpoint(TRUNCATE)");
    ck_assert_int_eq(rename(there, here), 0);
    unlink(log);
    unlink(index);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->topic, "new");
    release(the_store(), batch);
    free(here);
    free(there);
    free(log);
    free(index);
}
END_TEST

/* The path is the same, and so is the file that was open. */
START_TEST(a_symbolic_link_that_is_switched_is_noticed_while_waiting_too)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call soon = within(200);
    struct outbox_str done;
    char *link = scratch("link.db"), *next = scratch("next.db"), *a = scratch("shop.db"),
         *b = scratch("new.db");
    use_path(the_options(), "new.db");
    struct store *other = an_instance();
    assert_class(store_init(other, CALL, &done, &err), OUTBOX_OK, &err);
    sqlite3 *db = open_db("new.db");
    run_sql(db, "INSERT INTO " T " (topic) VALUES ('new')");
    sqlite3_close(db);
    ck_assert_int_eq(symlink(a, link), 0);
    use_path(the_options(), "link.db");
    struct store *s = an_instance(), *waits = an_instance();
    while (store_wait(waits, &soon, &err) == OUTBOX_OK)
        ;
    release(s, claim(s, 10, LEASE_MS));
    ck_assert_int_eq(symlink(b, next), 0);
    ck_assert_int_eq(rename(next, link), 0);
    assert_class(store_wait(waits, CALL, &err), OUTBOX_OK, &err);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->topic, "new");
    release(s, batch);
    free(link);
    free(next);
    free(a);
    free(b);
}
END_TEST

/* What a newer library wrote into the schema looks like damage to an older one. */
START_TEST(the_schema_of_a_newer_sqlite_is_not_called_damage)
{
    struct outbox_err err;
    static const unsigned char version[4] = {0, 0x98, 0x96, 0x80}; /* 10.0.0 */
    char *path = scratch("shop.db");
    execute("CREATE TABLE mine (x)");
    execute("PRAGMA writable_schema = ON");
    execute(
        "UPDATE sqlite_master SET sql = 'CREATE TABLE mine (x) FUTURISTIC' WHERE name = 'mine'");
    execute("PRAGMA wal_checkpoint(TRUNCATE)");
    close_all();
    FILE *f = fopen(path, "r+");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 96, SEEK_SET), 0);
    ck_assert_uint_eq(fwrite(version, sizeof version, 1, f), 1);
    fclose(f);
    assert_class(try_claim(an_instance(), within(1000), &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "10.0.0"));
    ck_assert_ptr_nonnull(strstr(err.text, sqlite3_libversion()));
    ck_assert_ptr_null(strstr(err.text, "restore"));
    free(path);
}
END_TEST

/* ---- what is not as init made it ---- */

START_TEST(what_is_missing_is_told_and_init_mends_it)
{
    static const struct {
        const char *break_it;
        const char *what;
    } cases[] = {
        {"DROP INDEX " T "_ready", "_ready"},
        {"DROP INDEX " T "_held", "_held"},
        {"DROP INDEX " T "_unknown", "_unknown"},
        {"DROP INDEX " T "_done; CREATE INDEX " T "_done ON " T " (topic)", "_done"},
        {"DROP TABLE " T "_leases", "_leases"},
        {"DROP TABLE " T "_relays", "_relays"},
        {"ALTER TABLE " T "_relays DROP COLUMN has_lock", "has_lock"},
        {"ALTER TABLE " T " DROP COLUMN lane_seq", "lane_seq"},
        {"DELETE FROM " T "_schema", "older"},
    };
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str text;
    produce(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strstr(cases[i].break_it, "lane_seq"))
            execute("DROP INDEX " T "_lanes");
        execute("%s", cases[i].break_it);
        struct store *s = an_instance();
        assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
        ck_assert_msg(strstr(err.text, cases[i].what) && strstr(err.text, "outboxd init"), "%s",
                      err.text);
        assert_class(store_init(s, CALL, &text, &err), OUTBOX_OK, &err);
        ck_assert_msg(i == 8 || strstr(text.p, "mended"), "%s: %s", cases[i].break_it, text.p);
        assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
        assert_class(store_init(s, CALL, &text, &err), OUTBOX_OK, &err);
        ck_assert_ptr_nonnull(strstr(text.p, "is up to date"));
        release(s, claim_soon(s));
        ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
    }
}
END_TEST

/* As a tool leaves it that copies a table to change it. */
START_TEST(a_table_without_its_defaults_is_told)
{
    static const char *const lost[] = {"primary key seq", "default of the column id"};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str text;
    execute(
        "CREATE TABLE copy (seq %s, id TEXT, topic, key, payload, headers, status, retries,"
        " last_error, created_at, processed_at, available_at, lane, lane_seq, origin_id, lease)",
        _i ? "INTEGER PRIMARY KEY" : "INTEGER");
    execute("DROP TABLE " T);
    execute("ALTER TABLE copy RENAME TO " T);
    struct store *s = an_instance();
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_msg(strstr(err.text, lost[_i]) != NULL, "%s", err.text);
    assert_class(store_init(s, CALL, &text, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_msg(strstr(err.text, lost[_i]) != NULL, "%s", err.text);
}
END_TEST

START_TEST(a_full_disk_passes_and_nothing_is_lost)
{
    struct outbox_err err;
    struct rlimit limit, full;
    produce(1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    execute("PRAGMA wal_checkpoint(TRUNCATE)");
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    full = limit;
    full.rlim_cur = 8;
    setrlimit(RLIMIT_FSIZE, &full);
    assert_class(try_settle(batch, within(1000), &err), OUTBOX_E_RETRY, &err);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_class(try_settle(batch, within(30000), &err), OUTBOX_OK, &err);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 1);
    assert_bytes("PRAGMA integrity_check", "ok", 2);
}
END_TEST

START_TEST(a_relay_may_not_pretend_to_work_on_a_file_it_cannot_write)
{
    struct outbox_err err;
    close_all();
    char *path = scratch("shop.db");
    sqlite3 *db = open_db("shop.db");
    run_sql(db, "PRAGMA journal_mode = DELETE");
    sqlite3_close(db);
    struct store *s = an_instance();
    ck_assert_int_eq(chmod(path, 0444), 0);
    if (geteuid() == 0) /* whom no permission stops */
        ck_assert_int_eq(seteuid(65534), 0);
    assert_class(try_claim(s, within(1000), &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "shop.db"));
    free(path);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: life");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "life");
    tcase_add_test(tc, a_writer_that_holds_the_lock_costs_the_deadline_and_no_more);
    tcase_add_test(tc, a_call_comes_back_early_when_the_host_wants_it);
    tcase_add_test(tc, readers_do_not_disturb);
    tcase_add_test(tc, an_idle_relay_writes_nothing);
    tcase_add_test(tc, a_database_that_is_in_use_is_waited_for_before_it_becomes_wal);
    tcase_add_test(tc, a_missing_file_is_not_made_and_the_error_says_what_to_do);
    tcase_add_test(tc, a_newer_table_is_refused_and_one_that_only_adds_is_not);
    tcase_add_test(tc, what_is_no_database_is_refused_and_left_alone);
    tcase_add_test(tc, a_replaced_file_is_noticed);
    tcase_add_test(tc, a_symbolic_link_that_is_switched_is_noticed_while_waiting_too);
    tcase_add_test(tc, the_schema_of_a_newer_sqlite_is_not_called_damage);
    tcase_add_test(tc, what_is_missing_is_told_and_init_mends_it);
    tcase_add_loop_test(tc, a_table_without_its_defaults_is_told, 0, 2);
    tcase_add_test(tc, a_full_disk_passes_and_nothing_is_lost);
    tcase_add_test(tc, a_relay_may_not_pretend_to_work_on_a_file_it_cannot_write);
    return unit_main(suite);
}
