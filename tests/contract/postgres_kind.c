/* SPDX-License-Identifier: Apache-2.0 */
#include "postgres_kind.h"

#include <outbox/save-postgres.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct postgres_way way = {NULL, "locks", "off"};

static char schema[64];

const char *the_schema(void)
{
    return schema;
}

static PGconn *connect_pg(void)
{
    PGconn *db = PQconnectdb(getenv("OUTBOX_TEST_PG"));
    ck_assert_msg(PQstatus(db) == CONNECTION_OK, "%s", PQerrorMessage(db));
    return db;
}

void run_pg(PGconn *db, const char *sql)
{
    PGresult *result = PQexec(db, sql);
    ExecStatusType status = PQresultStatus(result);
    ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql,
                  PQerrorMessage(db));
    PQclear(result);
}

PGconn *open_pg(void)
{
    PGconn *db = connect_pg();
    char sql[256];
    snprintf(sql, sizeof sql, "SET search_path = %s; SET TimeZone = 'UTC'", schema);
    run_pg(db, sql);
    return db;
}

static void set_up(void)
{
    char sql[256];
    PGconn *db = connect_pg();
    snprintf(schema, sizeof schema, "outbox_test_%ld", (long)getpid());
    snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s", schema, schema);
    run_pg(db, "SET client_min_messages = warning");
    run_pg(db, sql);
    PQfinish(db);
}

static void tear_down(void)
{
    char sql[256];
    PGconn *db = connect_pg();
    snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", schema);
    run_pg(db, "SET client_min_messages = warning");
    run_pg(db, sql);
    PQfinish(db);
}

static void set(struct outbox_cfg *cfg, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(options_set(cfg, name, value, &err), OUTBOX_OK, &err);
}

void use_option(const char *name, const char *value)
{
    set(the_options(), name, value);
}

static void configure(struct outbox_cfg *cfg)
{
    char table[128];
    snprintf(table, sizeof table, "%s.outbox_messages", schema);
    set(cfg, "conninfo", way.conninfo ? way.conninfo : getenv("OUTBOX_TEST_PG"));
    set(cfg, "notify_conninfo", getenv("OUTBOX_TEST_PG"));
    set(cfg, "table", table);
    set(cfg, "claim", way.claim);
    set(cfg, "notify", way.notify);
}

static PGresult *first_row(PGconn *db, const char *sql)
{
    PGresult *result = PQexec(db, sql);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(db));
    ck_assert_msg(PQntuples(result) > 0, "%s: no row", sql);
    return result;
}

static int64_t one_number(void *db, const char *sql)
{
    PGresult *result = first_row(db, sql);
    int64_t n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return n;
}

static char *one_value(void *connection, const char *sql)
{
    PGconn *db = connection;
    PGresult *result = PQexecParams(db, sql, 0, NULL, NULL, NULL, NULL, 1);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0, "%s: %s", sql,
                  PQerrorMessage(db));
    int n = PQgetlength(result, 0, 0);
    const char *p = PQgetvalue(result, 0, 0);
    char *out = calloc(1, 2 * (size_t)n + 5);
    ck_assert_ptr_nonnull(out);
    for (int i = 0; i < n; i++)
        snprintf(out + 2 * (size_t)i, 3, "%02X", (unsigned char)p[i]);
    if (PQgetisnull(result, 0, 0))
        memcpy(out, "NULL", 5);
    PQclear(result);
    return out;
}

static void *kind_connect(void)
{
    return open_pg();
}

static void kind_disconnect(void *db)
{
    PQfinish(db);
}

static void kind_execute(void *db, const char *sql)
{
    run_pg(db, sql);
}

static struct outbox_exec kind_exec(void *db)
{
    return outbox_exec_postgres(db);
}

/* As a condition of the row NEW. */
#define BAD_ROW "EXISTS (SELECT 1 FROM (SELECT NEW.*) n WHERE topic = 'bad' AND (%s))"

static void kind_refuse(void *db, enum refusal how, const char *update_when, bool deletes)
{
    const char *when = update_when ? update_when : "false";
    char sql[1000];
    if (how == REFUSED_BY_CHECK) {
        snprintf(sql, sizeof sql,
                 "ALTER TABLE outbox_messages ADD CONSTRAINT " REFUSAL_WORDS
                 " CHECK (NOT (topic = 'bad' AND (%s))) NOT VALID",
                 when);
        run_pg(db, sql);
        return;
    }
    snprintf(sql, sizeof sql,
             "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
             " IF TG_OP = 'DELETE' THEN IF %s AND OLD.topic = 'bad' THEN %s; END IF; RETURN OLD;"
             " ELSIF " BAD_ROW " THEN %s; END IF; RETURN NEW; END $$",
             deletes ? "true" : "false",
             how == SKIPPED_BY_TRIGGER ? "RETURN NULL" : "RAISE '" REFUSAL_WORDS "'", when,
             how == SKIPPED_BY_TRIGGER ? "RETURN NULL" : "RAISE '" REFUSAL_WORDS "'");
    run_pg(db, sql);
    run_pg(db, "CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON outbox_messages"
               " FOR EACH ROW EXECUTE FUNCTION refuse()");
}

const struct store_kind postgres_kind = {
    .plugin = "postgres",
    .set_up = set_up,
    .tear_down = tear_down,
    .configure = configure,
    .connect = kind_connect,
    .disconnect = kind_disconnect,
    .execute = kind_execute,
    .number = one_number,
    .bytes = one_value,
    .exec = kind_exec,
    .refuse = kind_refuse,
};
