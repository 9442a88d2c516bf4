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

#endif
