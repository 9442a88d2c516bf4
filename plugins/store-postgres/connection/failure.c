/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/failure.h"
#include "common/utf8.h"

/* SQLSTATEs by their beginning; the first that matches counts. */
static const struct {
    const char *state;
    int class;
    bool ends; /* the connection is of no more use */
    const char *advice;
} known[] = {
    {"08P01", OUTBOX_E_RETRY, true,
     "; if conninfo has `options`, a pooler refuses them: set them by ALTER ROLE instead"},
    {"08", OUTBOX_E_RETRY, true, ""},
    {"57P", OUTBOX_E_RETRY, true, ""},
    {"25P03", OUTBOX_E_RETRY, true, "; the batch took longer than it may"},
    {"25006", OUTBOX_E_RETRY, true,
     "; it is a standby, or default_transaction_read_only is on for the server, the database or "
     "the role: looking for another host"},
    {"26000", OUTBOX_E_RETRY, false, "; set prepare = off"},
    {"42P05", OUTBOX_E_RETRY, false, "; set prepare = off"},
    {"0A000", OUTBOX_E_RETRY, false, ""},
    {"57014", OUTBOX_E_TIMEOUT, false, ""},
    {"40", OUTBOX_E_RETRY, false, ""},
    {"55P03", OUTBOX_E_RETRY, false, "; another session holds a lock for long"},
    {"55000", OUTBOX_E_CONFIG, false,
     "; a table that is published needs a replica identity: see outboxd-store-postgres(7)"},
    {"53100", OUTBOX_E_RETRY, false, "; make room on the server's disk"},
    {"53300", OUTBOX_E_RETRY, true,
     "; lower `workers`, or raise the limit: max_connections, or the role's CONNECTION LIMIT"},
    {"53", OUTBOX_E_RETRY, false, ""},
    {"28", OUTBOX_E_CONFIG, true, "; check user and password, and the server's pg_hba.conf"},
    {"3D000", OUTBOX_E_CONFIG, true, "; create the database, or correct dbname"},
    {"3F000", OUTBOX_E_CONFIG, false, "; create the schema, or correct table"},
    {"42P01", OUTBOX_E_CONFIG, false, "; run `outboxd init`"},
    {"42703", OUTBOX_E_CONFIG, false, "; run `outboxd init`"},
    {"42P07", OUTBOX_E_CONFIG, false, "; rename or drop it"},
    {"42501", OUTBOX_E_CONFIG, false,
     "; grant it to the relay's role: see outboxd-store-postgres(7)"},
    {"22", OUTBOX_E_CONFIG, false, ""},
    {"23", OUTBOX_E_CONFIG, false, ""},
    {"42", OUTBOX_E_CONFIG, false, ""},
    {"", OUTBOX_E_RETRY, false, ""},
};

static size_t find(const char *state)
{
    size_t i = 0;
    while (strncmp(state, known[i].state, strlen(known[i].state)) != 0)
        i++;
    return i;
}

/* One line of what may be several. */
static void one_line(const char *text, char *out, size_t cap)
{
    char line[400];
    snprintf(line, sizeof line, "%s", text);
    for (char *p = line; (p = strpbrk(p, "\n\t")); p++)
        *p = ' ';
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ')
        n--;
    utf8_printable(line, n, out, cap);
}

/* Where it happened, for people: HOST:PORT/DATABASE. */
static void put_place(const PGconn *db, char *out, size_t cap)
{
    const char *host = db ? PQhost(db) : NULL, *port = db ? PQport(db) : NULL;
    const char *name = db ? PQdb(db) : NULL;
    snprintf(out, cap, "PostgreSQL%s%s%s%s%s%s", host && *host ? " at " : "", host ? host : "",
             port && *port ? ":" : "", port ? port : "", name && *name ? "/" : "",
             name ? name : "");
}

int failure_of(struct conn *conn, const PGconn *db, const PGresult *result, struct outbox_err *err)
{
    const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    /* Of a unique index: the columns, in any language; none for who may not read them. */
    const char *detail = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL) : NULL;
    conn->is_of_id = !detail || strstr(detail, "(id)=");
    if (!text || !*text)
        text = result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
               : db                                    ? PQerrorMessage(db)
                                                       : "out of memory";
    return failure_set(conn, db, result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL, text,
                       err);
}

/* What the session knows of the table may be old; or that is a trigger's own failure. So this call
 * goes on with it, and the next one does not. */
static bool is_outdated(const char *state)
{
    return strcmp(state, "0A000") == 0 || strcmp(state, "42P01") == 0 ||
           strcmp(state, "42703") == 0;
}

int failure_set(struct conn *conn, const PGconn *db, const char *state, const char *text,
                struct outbox_err *err)
{
    char line[280], place[120]; /* with the advice they fit into err */
    put_place(db, place, sizeof place);
    snprintf(conn->sqlstate, sizeof conn->sqlstate, "%s", state ? state : "");
    size_t i = find(state ? state : "");
    const char *advice = known[i].advice;
    if (conn->is_owner && failure_is(conn, "42501"))
        advice = "; run `outboxd init` as the table's owner, see outboxd-store-postgres(7)";
    one_line(*text ? text : "the connection was lost", line, sizeof line);
    snprintf(conn->words, sizeof conn->words, "%s%s%s%s", line, state ? " (" : "",
             state ? state : "", state ? ")" : "");
    conn->is_outdated |= is_outdated(conn->sqlstate);
    return outbox_fail(err, known[i].class, "%s: %s%s%s%s%s", place, line, state ? " (" : "",
                       state ? state : "", state ? ")" : "", advice);
}

/* ---- the last failure ---- */

bool failure_is(const struct conn *conn, const char *state)
{
    return strncmp(conn->sqlstate, state, strlen(state)) == 0;
}

bool failure_is_of_id(const struct conn *conn)
{
    return failure_is(conn, "23505") && conn->is_of_id;
}

bool failure_ends_connection(const struct conn *conn)
{
    return conn->sqlstate[0] == '\0' || known[find(conn->sqlstate)].ends;
}

static bool is_one_of(const struct conn *conn, const char *const *states)
{
    while (*states && !failure_is(conn, *states))
        states++;
    return *states;
}

/* With which codes a table's triggers and types fail is up to their owners; these are the server's
 * own. */
bool failure_may_be_a_row(const struct conn *conn)
{
    static const char *const states[] = {"08", "25",    "26", "40", "42P05",
                                         "53", "55P03", "57", NULL};
    return conn->db && conn->sqlstate[0] != '\0' && !is_one_of(conn, states);
}

/* No such character in UTF-8, not UTF-8; larger than a text may become; damaged (since PostgreSQL
 * 13; before, that is an internal error like any other). */
bool failure_is_unreadable_row(const struct conn *conn)
{
    static const char *const states[] = {"22P05", "22021", "54000", "XX001", NULL};
    return conn->db && is_one_of(conn, states);
}
