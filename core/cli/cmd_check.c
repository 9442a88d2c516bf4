/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_check.c - outboxd check: is the configuration right, and are the servers there? */
#include "base/log.h"
#include "cli/command.h"
#include "plugin/publisher.h"
#include "route/router.h"

#include <stdio.h>
#include <unistd.h>

#define CONNECT_MS 10000

struct args {
    struct syntax_args common;
    bool connect;
};

static const struct syntax_option options[] = {
    {"connect", 'C', SYNTAX_FLAG, offsetof(struct args, connect), NULL,
     "Also connect to the store and the publishers"},
    {0},
};

/* What opening gave; the error begins with the line of the file. */
static int opened(int r, const struct outbox_err *err)
{
    if (r == OUTBOX_OK)
        return EXIT_DONE;
    report_text(err->text);
    return report_exit_code(r);
}

static int connected(const char *what, int r, const struct outbox_err *err)
{
    if (r != OUTBOX_OK)
        return report_failure("%s: %s", what, err->text);
    printf("%s: ok\n", what);
    return command_flush(EXIT_DONE);
}

/* What plugins warn of goes to standard error. */
static int check_store(const struct config *config, bool connect, struct log *log)
{
    struct store store = {0};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(CONNECT_MS, -1);
    int r = config_open_store(config, &store, log, &err);
    int code = opened(r, &err);
    if (code == EXIT_DONE && connect)
        code = connected("store", store_check(&store, &call, &err), &err);
    store_close(&store);
    return code;
}

static int check_publisher(const struct publisher_config *p, bool connect, struct log *log)
{
    struct publisher publisher = {0};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(CONNECT_MS, -1);
    int r = config_open_publisher(p, &publisher, log, &err);
    int code = opened(r, &err);
    if (code == EXIT_DONE && connect)
        code = connected(publisher.label, publisher_check(&publisher, &call, &err), &err);
    publisher_close(&publisher);
    return code;
}

static int check_routes(const struct config *config, struct log *log)
{
    struct router *router = NULL;
    struct outbox_err err = {.size = sizeof err};
    int r = router_open(&config->routes, log, &router, &err);
    router_close(router);
    return opened(r, &err);
}

/* The exit code of two steps. */
static int worse(int a, int b)
{
    return a > b ? a : b;
}

static int check(const struct config *config, void *data)
{
    const struct args *args = data;
    struct log *log = log_new(STDERR_FILENO, OUTBOX_LOG_WARNING, LOG_LOGFMT);
    if (!log)
        return report_failure("out of memory");
    int code = worse(check_store(config, args->connect, log), check_routes(config, log));
    for (size_t i = 0; i < config->n_publishers; i++)
        code = worse(code, check_publisher(&config->publishers[i], args->connect, log));
    log_free(log);
    if (code == EXIT_DONE)
        printf("%s: ok (store %s, %zu publisher%s, %zu route%s)\n", config->file,
               config->store_plugin->desc.name, config->n_publishers,
               config->n_publishers == 1 ? "" : "s", config->routes.n_routes,
               config->routes.n_routes == 1 ? "" : "s");
    return code;
}

const struct command cmd_check = {
    .name = "check",
    .summary = "check the configuration file, and with --connect the servers",
    .syntax.options = options,
    .syntax.doc = "Reports every mistake of the configuration file as FILE:LINE: message.",
    .args_size = sizeof(struct args),
    .run_config = check,
};
