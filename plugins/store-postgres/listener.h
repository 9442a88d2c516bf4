/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - news of commits, on a connection of its own. See statements.c for the gate: it is
 * shut while the relay waits.
 */
#ifndef STORE_POSTGRES_LISTENER_H
#define STORE_POSTGRES_LISTENER_H

#include "connection/conn.h"

struct listener {
    struct conn conn;
    uint64_t listening; /* the session that does; 0: none */
    uint64_t gate;      /* the session that keeps the gate shut: producers notify; 0: none */
    bool claim_is_due;  /* something may have been missed */
};

/* See conn_init. NULL without memory. */
struct listener *listener_new(const struct outbox_host *host, const struct table_name *name,
                              struct outbox_str conninfo, struct outbox_str password,
                              enum prepare prepare);
void listener_free(struct listener *l);

#endif
