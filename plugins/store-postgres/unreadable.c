/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable.c - which row it is that the server cannot read out or send. A statement over many
 * rows fails for one of them and does not say for which, so they are read by halves.
 */
#include "unreadable.h"

#include <stdio.h>
#include <string.h>

/* No such character in UTF-8, not UTF-8; larger than a text may become; damaged. */
static const char *const states[] = {"22P05", "22021", "54000", "XX001"};

/* Reads as the claim does, and sends nothing. $1: max_message. */
static const char reading[] =
    "SELECT pg_catalog.count(pg_catalog.convert_to(m.topic, 'UTF8')),"
    " pg_catalog.count(pg_catalog.convert_to(m.key, 'UTF8')),"
    " pg_catalog.count(pg_catalog.convert_to(m.headers::text, 'UTF8')),"
    " pg_catalog.count(CASE WHEN pg_catalog.octet_length(m.payload) BETWEEN 1 AND $1"
    "  THEN pg_catalog.get_byte(m.payload, 0) END)"
    " FROM {t} m WHERE m.seq = ANY ($2)";

bool unreadable_is_why(const struct store *s)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(s->failed_state, states[i]) == 0)
            return s->db != NULL;
    return false;
}

/* Can all of them be read? *ret_why, if not. */
static int read_all(struct store *s, const int64_t *seqs, size_t n, uint64_t max_message, bool *ret,
                    struct outbox_err *ret_why, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    struct outbox_err why = {.size = sizeof why};
    args_int(&args, max_message < INT64_MAX ? (int64_t)max_message : INT64_MAX);
    args_ints(&args, seqs, n);
    int r = db_query(s, SLOT_NONE, reading, &args, &result, &why);
    PQclear(result);
    *ret = r == OUTBOX_OK;
    if (r < 0 && !unreadable_is_why(s))
        return outbox_fail(err, r, "%s", why.text);
    if (r < 0)
        *ret_why = why;
    return OUTBOX_OK;
}

int unreadable_find(struct store *s, const int64_t *seqs, size_t n, uint64_t max_message,
                    const int64_t **ret, struct outbox_err *ret_why, struct outbox_err *err)
{
    bool good = true;
    int r = OUTBOX_OK;
    *ret = NULL;
    while (r == OUTBOX_OK && n > 1) {
        size_t half = n / 2;
        r = read_all(s, seqs, half, max_message, &good, ret_why, err);
        if (r == OUTBOX_OK && good) {
            seqs += half;
            n -= half;
        } else {
            n = half;
        }
    }
    if (r == OUTBOX_OK && n == 1)
        r = read_all(s, seqs, 1, max_message, &good, ret_why, err);
    if (r == OUTBOX_OK && n == 1 && !good)
        *ret = seqs;
    return r;
}

int unreadable_mark(struct arena *arena, const struct outbox_err *why, struct outbox_message *m)
{
    char text[sizeof why->text + 32];
    int n = snprintf(text, sizeof text, "the row cannot be read: %s", why->text);
    return arena_str(arena, text, (size_t)n, &m->defect);
}
