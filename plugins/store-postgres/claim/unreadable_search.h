/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable_search.h - rows that the server cannot read out (its storage is damaged) or not send
 * (no UTF-8 can be made of a text): each fails by itself.
 */
#ifndef STORE_POSTGRES_CLAIM_UNREADABLE_SEARCH_H
#define STORE_POSTGRES_CLAIM_UNREADABLE_SEARCH_H

#include "postgres.h"

/* In place of ROW_COLUMNS: what such a row has in any case. $1 is not used. */
#define UNREADABLE_COLUMNS                                                                \
    "m.seq, m.ctid, m.id, ''::text, 0::int4, ''::text, 0::int4, NULL::bytea, NULL::int4," \
    " NULL::text, NULL::int4, m.retries, m.created_at, m.origin_id"

/* Is that why the last statement failed? */
bool unreadable_is_why(const struct store *s);

/* A row to try, and how much there is to read of it, bytes. */
struct candidate {
    int64_t seq;
    int64_t bytes;
};

struct unreadable {
    int64_t seq;
    struct outbox_str why; /* the server's words */
};

struct search {
    /* ---- what is wanted */
    const struct candidate *rows;
    size_t n;
    uint64_t max_message;     /* payloads of more bytes are not read */
    bool whole;               /* all that people see, not only what is published */
    int64_t until_us;         /* monotonic: ends then, wherever it is */
    struct unreadable *found; /* in the order of the rows */
    size_t max;
    /* ---- what came of it */
    size_t n_found;
    size_t n_read; /* rows of which all is known */
};
/* No transaction may be open. The words are in scratch. */
int unreadable_search(struct store *s, struct search *search, struct outbox_err *err);

/* The message's defect. -1 without memory. */
int unreadable_mark(struct arena *arena, struct outbox_str why, struct outbox_message *m);

/* ---- avoid.c ---- */

/* A row that can neither be read nor changed is left alone for a minute by this instance. False:
 * there are too many of them. */
bool avoid_add(struct store *s, int64_t seq, const char *why);
/* Rows to leave alone now, in s->avoided[]. */
size_t avoid_look(struct store *s);

#endif
