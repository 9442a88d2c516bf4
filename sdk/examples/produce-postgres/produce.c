/* SPDX-License-Identifier: Apache-2.0 */
/*
 * produce.c - an application that writes an order and the message about it in one transaction of
 * its own PostgreSQL connection. outboxd relays them.
 *
 *   cc $(pkg-config --cflags outbox libpq) -o produce produce.c $(pkg-config --libs outbox libpq)
 *   ./produce CONNINFO [PLUGIN_DIR]
 */
#include <outbox/outbox.h>
#include <outbox/save-postgres.h>

#include <stdio.h>
#include <stdlib.h>

#define ORDERS 20

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void run(PGconn *db, const char *sql)
{
    PGresult *result = PQexec(db, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die(sql, PQerrorMessage(db));
    PQclear(result);
}

/* One order and its message, in one transaction; every fifth customer changes their mind. */
static void place_order(PGconn *db, struct outbox_store *store, int number)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_exec exec = outbox_exec_postgres(db);
    struct outbox_header header = {outbox_cstr("source"), outbox_cstr("produce.c")};
    char sql[80], key[16], payload[32];
    snprintf(key, sizeof key, "order-%d", number);
    snprintf(payload, sizeof payload, "{\"number\":%d}", number);
    struct outbox_new message = {
        .size = sizeof message,
        .topic = outbox_cstr("order.placed"),
        .key = outbox_cstr(key),
        .payload = outbox_cstr(payload),
        .headers = &header,
        .n_headers = 1,
    };
    snprintf(sql, sizeof sql, "INSERT INTO orders (number) VALUES (%d)", number);
    run(db, "BEGIN");
    run(db, sql);
    if (outbox_save_one(store, &message, &exec, 0, NULL, &err) < 0)
        die("outbox_save_one", err.text);
    run(db, number % 5 == 0 ? "ROLLBACK" : "COMMIT");
}

int main(int argc, char **argv)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_store *store;
    if (argc < 2)
        die("usage", "produce CONNINFO [PLUGIN_DIR]");
    const struct outbox_setting settings[] = {{"conninfo", argv[1]}, {NULL, NULL}};
    if (outbox_store_open(argc > 2 ? argv[2] : NULL, "postgres", settings, &store, &err) < 0)
        die("store", err.text);
    if (outbox_store_init(store, 30000, &err) < 0)
        die("init", err.text);
    PGconn *db = PQconnectdb(argv[1]);
    if (PQstatus(db) != CONNECTION_OK)
        die("connect", PQerrorMessage(db));
    run(db, "CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)");
    for (int number = 1; number <= ORDERS; number++)
        place_order(db, store, number);
    printf("committed %d, rolled back %d\n", ORDERS - ORDERS / 5, ORDERS / 5);
    PQfinish(db);
    outbox_store_close(store);
    return 0;
}
