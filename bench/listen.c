/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - measures the lower limit of the latency: one thread does LISTEN, select, publish,
 * confirm, delete, and nothing else. It ends when its standard input does.
 * listen CONNINFO TABLE CHANNEL AMQP-URL QUEUE
 */
#include "broker.h"

#include <libpq-fe.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PGresult *run(PGconn *db, const char *sql, ExecStatusType wanted)
{
    PGresult *result = PQexecParams(db, sql, 0, NULL, NULL, NULL, NULL, 0);
    if (PQresultStatus(result) != wanted)
        fail(PQerrorMessage(db));
    return result;
}

/* Relays all rows that are there; returns how many. */
static int relay(PGconn *db, const char *table, amqp_connection_state_t c, const char *queue,
                 uint64_t *sent, uint64_t *confirmed)
{
    char sql[512];
    PQclear(run(db, "BEGIN", PGRES_COMMAND_OK));
    snprintf(sql, sizeof sql,
             "SELECT seq, id, payload FROM %s WHERE status = 'pending' ORDER BY seq LIMIT 500"
             " FOR UPDATE SKIP LOCKED",
             table);
    PGresult *rows = run(db, sql, PGRES_TUPLES_OK);
    int n = PQntuples(rows);
    for (int i = 0; i < n; i++) {
        size_t bytes;
        unsigned char *payload = PQunescapeBytea((unsigned char *)PQgetvalue(rows, i, 2), &bytes);
        broker_publish(c, queue, PQgetvalue(rows, i, 1), payload, bytes);
        PQfreemem(payload);
        ++*sent;
    }
    broker_confirm(c, *sent, confirmed, 1);
    for (int i = 0; i < n; i++) {
        snprintf(sql, sizeof sql, "DELETE FROM %s WHERE seq = %s", table, PQgetvalue(rows, i, 0));
        PQclear(run(db, sql, PGRES_COMMAND_OK));
    }
    PQclear(rows);
    PQclear(run(db, "COMMIT", PGRES_COMMAND_OK));
    return n;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "listen CONNINFO TABLE CHANNEL AMQP-URL QUEUE\n");
        return 2;
    }
    char sql[128];
    uint64_t sent = 0, confirmed = 0;
    PGconn *db = PQconnectdb(argv[1]);
    if (PQstatus(db) != CONNECTION_OK)
        fail(PQerrorMessage(db));
    amqp_connection_state_t c = broker_connect(argv[4]);
    snprintf(sql, sizeof sql, "LISTEN \"%s\"", argv[3]);
    PQclear(run(db, sql, PGRES_COMMAND_OK));
    for (;;) {
        while (relay(db, argv[2], c, argv[5], &sent, &confirmed) > 0)
            ;
        struct pollfd fds[] = {{.fd = PQsocket(db), .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
        PGnotify *notification = PQnotifies(db);
        if (!notification)
            poll(fds, 2, -1);
        PQfreemem(notification);
        if (fds[1].revents)
            break;
        PQconsumeInput(db);
        while ((notification = PQnotifies(db)))
            PQfreemem(notification);
    }
    amqp_destroy_connection(c);
    PQfinish(db);
    return 0;
}
