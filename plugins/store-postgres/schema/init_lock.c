/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init_lock.c - of several that init a table at the same time one goes on, and the others wait and
 * find it done. Building indexes must not be inside of a transaction, and behind a pooler there is
 * no session; so the lock is held by a transaction of a connection beside.
 *
 * It is asked for again and again rather than waited for: who builds an index waits for all older
 * statements, also for one that waits for this lock.
 */
#include "postgres.h"

#include <stdlib.h>

#define AGAIN_MS 200

struct alone {
    struct store beside; /* as much of one as statements need */
};

static int try_to_lock(struct store *b, bool *ret, struct outbox_err *err)
{
    struct args args = {.arena = &b->scratch};
    args_text(&args, outbox_cstr(b->name.table));
    struct step steps[] = {
        {.slot = SLOT_NONE, .sql = BEGIN},
        {.slot = SLOT_NONE,
         .sql = "SELECT pg_catalog.pg_try_advisory_xact_lock("
                "pg_catalog.hashtextextended('outboxd init ' || $1::text, 0))",
         .args = &args},
        /* Takes the place of the SELECT, whose snapshot a building index would wait for. */
        {.slot = SLOT_NONE, .sql = "SET LOCAL lock_timeout = 0"},
    };
    int r = db_run(b, steps, 3, err);
    if (r < 0)
        return r;
    *ret = column_int(steps[1].result, 0, 0) != 0;
    PQclear(steps[0].result);
    PQclear(steps[1].result);
    PQclear(steps[2].result);
    return *ret ? OUTBOX_OK : db_exec(b, "ROLLBACK", err);
}

static int begin(struct store *b, struct outbox_err *err)
{
    bool locked = false;
    b->db = db_connect(b, b->conninfo, b->bounded, "outboxd init", err);
    int r = b->db ? session_begin(b, err) : b->failure;
    while (r == 0 && (r = try_to_lock(b, &locked, err)) == 0 && !locked)
        if (!db_rest(b, AGAIN_MS))
            r = outbox_fail(err, OUTBOX_E_TIMEOUT,
                            "another `outboxd init` is at work on the table %s", b->name.table);
    return r;
}

int alone_begin(const struct store *s, struct alone **ret, struct outbox_err *err)
{
    struct alone *alone = calloc(1, sizeof *alone);
    if (!alone)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    alone->beside = (struct store){.host = s->host,
                                   .conninfo = s->conninfo,
                                   .password = s->password,
                                   .name = s->name,
                                   .preparing = PREPARE_OFF,
                                   .bounded = s->bounded,
                                   .scratch = ARENA_INIT(0),
                                   .deadline_us = s->deadline_us,
                                   .timeout_ms = s->timeout_ms,
                                   .cancel_fd = s->cancel_fd};
    *ret = alone;
    return begin(&alone->beside, err);
}

void alone_end(struct alone *alone)
{
    if (!alone)
        return;
    db_close(&alone->beside);
    arena_free(&alone->beside.scratch);
    free(alone);
}
