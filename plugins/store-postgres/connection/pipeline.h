/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline.h - statements to the server and their results back, several in one round trip, none
 * without a deadline. {t} in a statement is the table, see table_name.h; results are binary.
 */
#pragma once

#include "connection/conn.h"
#include "connection/failure.h"
#include "connection/pg_binary.h"

/* One statement of a pipeline. */
struct step {
    enum stmt stmt;
    const char *sql;
    struct pg_args *args;
    bool outside;     /* of any transaction: the only step */
    PGresult *result; /* the caller's, when all went well */
};

#define STEP_BEGIN \
    ((struct step){.stmt = STMT_BEGIN, .sql = "BEGIN ISOLATION LEVEL READ COMMITTED"})
#define STEP_COMMIT ((struct step){.stmt = STMT_COMMIT, .sql = "COMMIT"})

/* Runs the steps in one round trip; without a BEGIN in front they are one transaction. On failure
 * there are no results, and what was open is rolled back or lost with the connection. */
int pipeline_run(struct conn *conn, struct step *steps, size_t n, struct outbox_err *err);
/* Runs them in the transaction that is open, with what it would check at its end; if they fail, as
 * if they had not run. Without a live connection nothing is open any more. */
int pipeline_try(struct conn *conn, struct step *steps, size_t n, struct outbox_err *err);
/* Throws the results away. */
void pipeline_clear(struct step *steps, size_t n);

/* One statement; its result, for PQclear. */
int pipeline_query(struct conn *conn, enum stmt stmt, const char *sql, struct pg_args *args,
                   PGresult **ret, struct outbox_err *err);
/* One statement; how many rows it changed, unless ret_n is NULL. */
int pipeline_change(struct conn *conn, enum stmt stmt, const char *sql, struct pg_args *args,
                    uint64_t *ret_n, struct outbox_err *err);
/* One statement; the number or boolean in its first row, 0 without a row. */
int pipeline_number(struct conn *conn, const char *sql, struct pg_args *args, int64_t *ret,
                    struct outbox_err *err);
/* One statement without arguments, whose result does not matter. */
int pipeline_exec(struct conn *conn, const char *sql, struct outbox_err *err);
/* The same outside of any transaction. */
int pipeline_exec_outside(struct conn *conn, const char *sql, struct outbox_err *err);
int pipeline_begin(struct conn *conn, struct outbox_err *err);
/* Ends a transaction after its statements returned r: COMMIT if that is OK. Returns what failed
 * first. */
int pipeline_end(struct conn *conn, int r, struct outbox_err *err);
/* Ends an open transaction, or else drops the connection, which does as well. Fills no err. */
void pipeline_rollback(struct conn *conn);
/* Rows that a result says were changed. */
uint64_t pipeline_changed(PGresult *result);
