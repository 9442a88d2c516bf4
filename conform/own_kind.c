/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/own_kind.h"

#include "conform/command.h"
#include "conform/target.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SQL_S 60

static void load(void)
{
    (void)target();
}

static void nothing(void) {}

/* ---- publishers ---- */

static struct publisher_kind publisher;

static void load_publisher(void)
{
    publisher.publish_ms = target()->publish_ms;
}

static const struct plugin *publisher_module(const struct outbox_cfg **ret_cfg)
{
    const struct setup *s = target();
    *ret_cfg = s->options;
    return s->plugin;
}

const struct publisher_kind *own_publisher(const struct setup *s)
{
    publisher = (struct publisher_kind){.plugin = s->name,
                                        .set_up = load_publisher,
                                        .tear_down = nothing,
                                        .module = publisher_module};
    return &publisher;
}

/* ---- stores ---- */

static const struct plugin *store_module(struct outbox_cfg **ret_cfg)
{
    struct setup *s = target();
    *ret_cfg = target_options(s);
    return s->plugin;
}

/* What the statement prints, for free(). */
static char *run_sql(const char *sql)
{
    const char *command = target_needs(target_outside()->sql, "[conform] sql");
    struct outbox_err err = {.size = sizeof err};
    char *printed = NULL;
    if (command_run(command, sql, SQL_S, &printed, &err) < 0)
        ck_abort_msg("sql: %s: %s", sql, err.text);
    return printed;
}

static bool begins_with(const char *sql, const char *word)
{
    return strncasecmp(sql, word, strlen(word)) == 0;
}

/* Each of them is a connection of its own. */
static void run_statement(void *connection, const char *sql)
{
    (void)connection;
    if (begins_with(sql, "BEGIN") || begins_with(sql, "COMMIT") || begins_with(sql, "ROLLBACK"))
        kit_skip("`sql` runs one statement at a time, and this test has a transaction of several");
    free(run_sql(sql));
}

static int64_t ask_number(void *connection, const char *sql)
{
    (void)connection;
    char *printed = run_sql(sql), *end;
    int64_t n = strtoll(printed, &end, 10);
    ck_assert_msg(end != printed, "sql printed no number for: %s", sql);
    free(printed);
    return n;
}

static void delete_rows(void)
{
    if (target_outside()->sql)
        free(run_sql("DELETE FROM outbox_messages"));
}

const struct store_kind *own_store(const struct setup *s)
{
    static struct store_kind kind = {.set_up = load,
                                     .tear_down = nothing,
                                     .module = store_module,
                                     .empty = delete_rows,
                                     .execute = run_statement,
                                     .number = ask_number};
    kind.plugin = s->name;
    return &kind;
}
