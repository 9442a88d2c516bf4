/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_postgres.c - measures the limit of pub-postgres: libpq alone writes batches of WINDOW
 * messages into the table outbox_inbox of an inbox.sql, with the statement of pub-postgres, one
 * commit each. Prints messages a second. bare_postgres HOST PORT MESSAGES SIZE [WINDOW]; the rest
 * as libpq has it (PGUSER, PGDATABASE, PGPASSWORD).
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS 7

static const char insert_sql[] =
    "INSERT INTO outbox_inbox (message_id, topic, key, payload, headers, created_at, seq)"
    " SELECT m.id, m.topic, m.key, m.payload, m.headers::jsonb, m.created_at, m.seq FROM"
    " ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
    " pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))"
    " AS m (id, topic, key, payload, headers, created_at, seq) ON CONFLICT (message_id) DO NOTHING";
/* text[], text[], text[], bytea[], text[], timestamptz[], int8[]; and their members. */
static const Oid types[COLUMNS] = {1009, 1009, 1009, 1001, 1009, 1185, 1016};
static const uint32_t members[COLUMNS] = {25, 25, 25, 17, 25, 1184, 20};

static char *at;

static void put32(uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (char)(value >> shift & 0xFF);
}

static void put(const char *p, size_t n)
{
    put32((uint32_t)n);
    memcpy(at, p, n);
    at += n;
}

static void put_cell(int column, int64_t number, const char *payload, size_t size)
{
    static const char number_of[] = "00000000-0000-4000-8000-";
    char id[64];
    snprintf(id, sizeof id, "%s%012" PRId64, number_of, number);
    if (column == 0)
        put(id, strlen(id));
    else if (column == 1)
        put("order.placed", 12);
    else if (column == 2)
        put("", 0);
    else if (column == 3)
        put(payload, size);
    else if (column == 4)
        put("{}", 2);
    else {
        put32(8);
        put32(0);
        put32((uint32_t)number);
    }
}

static bool write_batch(PGconn *db, char *buf, int64_t first, size_t n, const char *payload,
                        size_t size)
{
    static const int binary[COLUMNS] = {1, 1, 1, 1, 1, 1, 1};
    const char *values[COLUMNS];
    int lengths[COLUMNS];
    at = buf;
    for (int column = 0; column < COLUMNS; column++) {
        values[column] = at;
        put32(1);
        put32(0);
        put32(members[column]);
        put32((uint32_t)n);
        put32(1);
        for (size_t i = 0; i < n; i++)
            put_cell(column, first + (int64_t)i, payload, size);
        lengths[column] = (int)(at - values[column]);
    }
    PGresult *result = PQexecParams(db, insert_sql, COLUMNS, types, values, lengths, binary, 0);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (!ok)
        fprintf(stderr, "bare_postgres: %s", PQerrorMessage(db));
    PQclear(result);
    return ok;
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: bare_postgres HOST PORT MESSAGES SIZE [WINDOW]\n");
        return 2;
    }
    int64_t messages = strtoll(argv[3], NULL, 10);
    size_t size = strtoul(argv[4], NULL, 10), window = argc > 5 ? strtoul(argv[5], NULL, 10) : 500;
    const char *keys[] = {"host", "port", NULL}, *values[] = {argv[1], argv[2], NULL};
    char *payload = calloc(1, size + 1), *buf = malloc((size + 200) * window + 1000);
    PGconn *db = PQconnectdbParams(keys, values, 0);
    if (!payload || !buf || window == 0 || PQstatus(db) != CONNECTION_OK) {
        fprintf(stderr, "bare_postgres: %s", PQerrorMessage(db));
        return 1;
    }
    memset(payload, 'x', size);
    double began = now_s();
    for (int64_t done = 0; done < messages; done += (int64_t)window) {
        size_t n = (size_t)(messages - done) < window ? (size_t)(messages - done) : window;
        if (!write_batch(db, buf, done, n, payload, size))
            return 1;
    }
    printf("%.0f\n", (double)messages / (now_s() - began));
    PQfinish(db);
    free(buf);
    free(payload);
    return 0;
}
