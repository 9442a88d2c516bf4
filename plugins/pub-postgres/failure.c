/* SPDX-License-Identifier: Apache-2.0 */
/* failure.c - what a failure means, by its SQLSTATE; the manual page has the table. */
#include "inbox.h"

/* By their beginning; the first that matches counts. */
static const struct {
    const char *state;
    enum failure_kind kind;
    int code;
    const char *advice;
} known[] = {
    {"08P01", FAILURE_LOST, OUTBOX_E_RETRY,
     "; if conninfo has `options`, a pooler refuses them: set them by ALTER ROLE instead"},
    {"08", FAILURE_LOST, OUTBOX_E_RETRY, ""},
    {"57P", FAILURE_LOST, OUTBOX_E_RETRY, ""},
    {"57", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"25006", FAILURE_LOST, OUTBOX_E_RETRY,
     "; it is a standby, or default_transaction_read_only is on: looking for another host"},
    {"25", FAILURE_LOST, OUTBOX_E_RETRY, ""},
    {"28", FAILURE_LOST, OUTBOX_E_CONFIG,
     "; check user and password, and the server's pg_hba.conf"},
    {"3D000", FAILURE_LOST, OUTBOX_E_CONFIG, "; create the database, or correct dbname"},
    {"53300", FAILURE_LOST, OUTBOX_E_FULL,
     "; lower `workers`, or raise max_connections or the role's CONNECTION LIMIT"},
    {"53100", FAILURE_WAIT, OUTBOX_E_RETRY, "; make room on the server's disk"},
    {"53", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"58", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"XX001", FAILURE_WAIT, OUTBOX_E_CONFIG, "; the table is damaged"},
    {"XX002", FAILURE_WAIT, OUTBOX_E_CONFIG, "; an index of the table is damaged: REINDEX"},
    {"XX", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"F0", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"55P03", FAILURE_WAIT, OUTBOX_E_RETRY, "; another session holds a lock for long"},
    {"55", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"40001", FAILURE_AGAIN, OUTBOX_E_RETRY, ""},
    {"40P01", FAILURE_AGAIN, OUTBOX_E_RETRY, ""},
    {"40", FAILURE_WAIT, OUTBOX_E_RETRY, ""},
    {"42501", FAILURE_POLICY, OUTBOX_E_CONFIG, ""},
    {"0A000", FAILURE_TABLE, OUTBOX_E_CONFIG, ""},
    {"3F000", FAILURE_TABLE, OUTBOX_E_CONFIG, ""},
    {"42", FAILURE_TABLE, OUTBOX_E_CONFIG, ""},
    {"23502", FAILURE_TABLE, OUTBOX_E_RETRY, "; the column needs a default"},
    {"22", FAILURE_REJECT, OUTBOX_E_RETRY, ""},
    {"54", FAILURE_REJECT, OUTBOX_E_RETRY, ""},
    {"", FAILURE_RETRY, OUTBOX_E_RETRY, ""},
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
    size_t n = 0;
    for (; *text && n + 1 < cap; text++)
        out[n++] = (unsigned char)*text < 0x20 || *text == 0x7F ? ' ' : *text;
    /* Not in the middle of a character. */
    while (*text && n > 0 && ((unsigned char)out[n - 1] & 0xC0) == 0x80)
        n--;
    if (*text && n > 0 && (unsigned char)out[n - 1] >= 0xC0)
        n--;
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

/* Where, for people: HOST:PORT/DATABASE. */
static void put_place(const PGconn *db, char *out, size_t cap)
{
    const char *host = db ? PQhost(db) : NULL, *port = db ? PQport(db) : NULL;
    const char *name = db ? PQdb(db) : NULL;
    snprintf(out, cap, "PostgreSQL%s%s%s%s%s%s", host && *host ? " at " : "", host ? host : "",
             port && *port ? ":" : "", port ? port : "", name && *name ? "/" : "",
             name ? name : "");
}

/* Such a failure in a function is that function's own, and no lack of the table's. */
int failure_set(struct instance *x, const PGconn *db, const char *state, bool in_function,
                const char *text, struct outbox_err *err)
{
    struct failure *f = &x->failure;
    char line[280], place[140];
    size_t i = find(state ? state : "08");
    put_place(db, place, sizeof place);
    one_line(*text ? text : "the connection was lost", line, sizeof line);
    snprintf(f->state, sizeof f->state, "%s", state ? state : "");
    f->kind = known[i].kind;
    if (in_function && (f->kind == FAILURE_TABLE || f->kind == FAILURE_POLICY))
        f->kind = FAILURE_RETRY;
    f->code = known[i].code;
    snprintf(f->words, sizeof f->words, "%s%s%s%s", line, state ? " (" : "", state ? state : "",
             state ? ")" : "");
    snprintf(f->text, sizeof f->text, "%s: %s%s", place, f->words, known[i].advice);
    return outbox_fail(err, f->code, "%s", f->text);
}

/* A column without a value is the receiver's, which lacks a default; only a payload may be NULL
 * itself, and a domain is told without its column. */
static bool is_null_of_message(const PGresult *result, const char *state)
{
    const char *column;
    if (!state || strcmp(state, "23502") != 0)
        return false;
    column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
    return !column || strcmp(column, "payload") == 0;
}

/* The details of an error may quote the message; they are left out. */
int failure_of(struct instance *x, const PGresult *result, struct outbox_err *err)
{
    const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *context = result ? PQresultErrorField(result, PG_DIAG_CONTEXT) : NULL;
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (!text || !*text)
        text = result && *PQresultErrorMessage(result) ? PQresultErrorMessage(result)
               : x->db                                 ? PQerrorMessage(x->db)
                                                       : "out of memory";
    failure_set(x, x->db, state, context && *context, text, err);
    if (is_null_of_message(result, state))
        x->failure.kind = FAILURE_RETRY;
    return x->failure.code;
}
