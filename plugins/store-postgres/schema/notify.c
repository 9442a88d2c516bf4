/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.c - what wakes the relay when something is inserted: a trigger for each statement. NOTIFY
 * makes committing transactions queue up, so it is sent only while the relay sleeps: the relay
 * holds an advisory lock then (the gate is shut). A producer that gets the shared lock instead
 * knows the relay to be awake, and keeps it to its end: the relay, before it sleeps, waits for all
 * of those.
 */
#include "postgres.h"

const char *const schema_notify[] = {
    "CREATE OR REPLACE FUNCTION {t_notify}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "BEGIN\n"
    "    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(" NOTIFY_GATE ",\n"
    "            TG_RELID::pg_catalog.int4) THEN\n"
    "        PERFORM pg_catalog.pg_notify(pg_catalog.concat('outboxd_', TG_RELID), '');\n"
    "    END IF;\n"
    "    RETURN NULL;\n"
    "END\n"
    "$$",
    "CREATE TRIGGER {n_notify} AFTER INSERT ON {t}\n"
    "    FOR EACH STATEMENT EXECUTE FUNCTION {t_notify}()",
    NULL,
};

int notify_init(struct store *s, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *found;
    if (!s->notify)
        return OUTBOX_OK;
    args_int(&args, s->oid);
    args_text(&args, outbox_cstr(s->name.table));
    int r =
        db_query(s, SLOT_NONE,
                 "SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = $1::int8::oid AND tgname ="
                 " $2::text || '_notify'",
                 &args, &found, err);
    if (r < 0)
        return r;
    bool there = PQntuples(found) > 0;
    PQclear(found);
    return there ? OUTBOX_OK : schema_run_patiently(s, schema_notify, err);
}
