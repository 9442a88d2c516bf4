/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare.c - measures the limit of a relay on SQLite: one thread claims 500 rows by a lease and
 * deletes them, with the statements of store-sqlite, and does nothing else. Prints how many rows it
 * deleted. bare DATABASE
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 500
#define READY "status = 'pending' AND available_at IS NULL AND lane IS NULL"

static sqlite3 *db;

static void check(int code)
{
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW)
        return;
    fprintf(stderr, "bare: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement = NULL;
    check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL));
    return statement;
}

static void run(sqlite3_stmt *statement)
{
    check(sqlite3_step(statement));
    check(sqlite3_reset(statement));
}

/* Reads a batch like a relay; *ret_first and *ret_last are its range. */
static int gather(sqlite3_stmt *fresh, sqlite3_int64 *ret_first, sqlite3_int64 *ret_last)
{
    int n = 0;
    while (n < BATCH && sqlite3_step(fresh) == SQLITE_ROW) {
        *ret_last = sqlite3_column_int64(fresh, 0);
        if (n++ == 0)
            *ret_first = *ret_last;
        for (int i = 1; i < 10; i++)
            if (sqlite3_column_bytes(fresh, i) > 0 && !sqlite3_column_blob(fresh, i))
                exit(1);
    }
    check(sqlite3_reset(fresh));
    return n;
}

int main(int argc, char **argv)
{
    sqlite3_int64 first = 0, last = 0, lease = 0, done = 0;
    if (argc != 2 || sqlite3_open(argv[1], &db) != SQLITE_OK)
        return 1;
    check(sqlite3_exec(db, "PRAGMA synchronous = FULL", NULL, NULL, NULL));
    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    sqlite3_stmt *fresh =
        prepare("SELECT seq, id, topic, key, payload, length(payload), headers, retries,"
                " created_at, origin_id FROM outbox_messages WHERE " READY " ORDER BY seq");
    sqlite3_stmt *begin_lease = prepare("INSERT INTO outbox_messages_leases (lease, until, relay)"
                                        " VALUES (?1, 9999999999999999, 'bare')");
    sqlite3_stmt *take =
        prepare("UPDATE outbox_messages SET status = 'processing', lease = ?1 WHERE seq"
                " BETWEEN ?2 AND ?3 AND " READY);
    sqlite3_stmt *settle =
        prepare("DELETE FROM outbox_messages WHERE status = 'processing' AND lease = ?1");
    sqlite3_stmt *end_lease = prepare("DELETE FROM outbox_messages_leases WHERE lease = ?1");
    for (;;) {
        lease++;
        sqlite3_bind_int64(begin_lease, 1, lease);
        sqlite3_bind_int64(take, 1, lease);
        sqlite3_bind_int64(settle, 1, lease);
        sqlite3_bind_int64(end_lease, 1, lease);
        run(begin);
        int n = gather(fresh, &first, &last);
        if (n == 0)
            break;
        run(begin_lease);
        sqlite3_bind_int64(take, 2, first);
        sqlite3_bind_int64(take, 3, last);
        run(take);
        run(commit);
        run(begin);
        run(settle);
        run(end_lease);
        run(commit);
        done += n;
    }
    printf("%lld\n", (long long)done);
    return 0;
}
