/* SPDX-License-Identifier: Apache-2.0 */
/* sql_insert.h - the INSERT of a message: what every store that speaks SQL writes alike. */
#pragma once

#include <outbox/store.h>

enum sql_insert_column {
    SQL_INSERT_ID,
    SQL_INSERT_TOPIC,
    SQL_INSERT_KEY,
    SQL_INSERT_PAYLOAD,
    SQL_INSERT_HEADERS,
    SQL_INSERT_AVAILABLE, /* an integer: see `available` */
    SQL_INSERT_COLUMNS
};

/* How a store writes it. */
struct sql_insert_dialect {
    /* The table, quoted. */
    const char *table;
    /* For each column what stands in VALUES; %d is the argument's number. */
    const char *values[SQL_INSERT_COLUMNS];
    /* The argument of SQL_INSERT_AVAILABLE for a message that is due in delay_ms. */
    int64_t (*available)(void *ctx, int64_t delay_ms);
    void *ctx;
};

/*
 * Checks one message and runs its INSERT, which names only columns that are given: the table's
 * defaults do the rest. OUTBOX_E_CONFIG: it has no topic, or a text that is no clean UTF-8.
 */
int sql_insert_message(const struct sql_insert_dialect *dialect, const struct outbox_new *message,
                       const struct outbox_exec *exec, struct outbox_err *err);

/* OUTBOX_E_EXISTS, and the id in the text. */
int sql_insert_fail_exists(const struct outbox_new *message, struct outbox_err *err);
