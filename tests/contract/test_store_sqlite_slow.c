/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that takes its time: between the write of a commit and its being there lies a sync. */
#include "sqlite_kind.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>

#define T "outbox_messages"
#define SYNC_MS 400

/* ---- a file system whose write-ahead log syncs slowly ---- */

static sqlite3_vfs *real_vfs;
static sqlite3_io_methods real_methods, slow_methods;

static int slow_sync(sqlite3_file *file, int flags)
{
    sleep_ms(SYNC_MS);
    return real_methods.xSync(file, flags);
}

static int slow_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    int code = real_vfs->xOpen(real_vfs, name, file, flags, out);
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
        real_methods = slow_methods = *file->pMethods;
        slow_methods.xSync = slow_sync;
        file->pMethods = &slow_methods;
    }
    return code;
}

static sqlite3 *open_slow(void)
{
    static sqlite3_vfs slow; /* registering it again does nothing */
    sqlite3 *db = NULL;
    char *path = scratch("shop.db");
    real_vfs = sqlite3_vfs_find(NULL);
    slow = *real_vfs;
    slow.zName = "slow";
    slow.xOpen = slow_open;
    ck_assert_int_eq(sqlite3_vfs_register(&slow, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "slow"), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    run_sql(db, "SELECT count(*) FROM " T);
    free(path);
    return db;
}

static void *insert_slowly(void *db)
{
    run_sql(db, "INSERT INTO " T " (topic) VALUES ('slow')");
    return NULL;
}

/* ---- waiting ---- */

/* The write of the second commit comes while the first is still looked for, and wakes that look. */
START_TEST(a_commit_whose_write_was_seen_with_another_is_not_missed)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call soon = within(200), call = within(20000);
    sqlite3 *slow[2] = {open_slow(), open_slow()};
    pthread_t threads[2];
    while (store_wait(the_store(), &soon, &err) == OUTBOX_OK)
        ;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, insert_slowly, slow[i]), 0);
    for (int n = 1; n <= 2; n++) {
        assert_class(store_wait(the_store(), &call, &err), OUTBOX_OK, &err);
        ck_assert_int_ge(number("SELECT count(*) FROM " T), n);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        sqlite3_close(slow[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite on a slow disk");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "wait");
    tcase_add_test(tc, a_commit_whose_write_was_seen_with_another_is_not_missed);
    return unit_main(suite);
}
