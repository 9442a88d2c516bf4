/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reload.h"

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "common/message_json.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <unistd.h>

/* So many lines go into the relay's row, and to a client. */
#define LINES_MAX 20

/* ---- who asks ---- */

void reload_init(struct reload *reload, const char *file, struct log *log, struct service *service)
{
    struct outbox_err err = {.size = sizeof err};
    *reload =
        (struct reload){.log = log, .service = service, .listening = control_listen(file, &err)};
    if (reload->listening < 0)
        log_event(log, OUTBOX_LOG_WARNING,
                  "cannot take requests of `outboxd reload`; SIGHUP does the same", "error",
                  err.text, NULL);
}

static void drop_lines(struct reload *reload)
{
    for (size_t i = 0; i < reload->changes.n; i++)
        free(reload->changes.lines[i]);
    free(reload->changes.lines);
    reload->changes = (struct reload_lines){NULL, 0};
}

static void drop_clients(int **clients, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        close((*clients)[i]);
    free(*clients);
    *clients = NULL;
    *n = 0;
}

void reload_free(struct reload *reload)
{
    drop_clients(&reload->next, &reload->n_next);
    drop_clients(&reload->clients, &reload->n_clients);
    drop_lines(reload);
    if (reload->listening >= 0)
        close(reload->listening);
}

void reload_accept(struct reload *reload)
{
    int fd = control_accept(reload->listening);
    int *added = fd < 0 ? NULL : array_add(&reload->next, &reload->n_next, sizeof *added);
    if (fd >= 0 && !added)
        close(fd);
    if (!added)
        return;
    *added = fd;
    reload->wanted = true;
}

void reload_begin(struct reload *reload)
{
    reload->clients = reload->next;
    reload->n_clients = reload->n_next;
    reload->next = NULL;
    reload->n_next = 0;
    reload->wanted = false;
    reload->began_us = clock_monotonic_us();
    reload->n_changes = 0;
    reload->left[0] = '\0';
    service_reloading(reload->service);
}

/* ---- how it is told ---- */

static void to_clients(struct reload *reload, enum control_kind kind, const char *text)
{
    for (size_t i = 0; i < reload->n_clients; i++)
        (void)control_send(reload->clients[i], kind, text); /* who does not read gets no answer */
}

static void finish(struct reload *reload, int code)
{
    service_ready(reload->service);
    to_clients(reload, CONTROL_DONE, code == EXIT_DONE ? "0" : code == EXIT_FAILED ? "1" : "2");
    drop_clients(&reload->clients, &reload->n_clients);
    drop_lines(reload);
}

static void keep_line(void *ctx, const char *text)
{
    struct reload *reload = ctx;
    char **line = array_add(&reload->changes.lines, &reload->changes.n, sizeof *line);
    if (line)
        *line = strdup(text);
}

static void keep_if_replaced(struct reload *reload, const struct plugin *plugin)
{
    char text[512];
    if (!plugin || !plugin_is_replaced(plugin))
        return;
    snprintf(text, sizeof text,
             "warning: %s was replaced since it was loaded; restart to use the new one",
             plugin->path);
    for (size_t i = 0; i < reload->changes.n; i++)
        if (reload->changes.lines[i] && strcmp(reload->changes.lines[i], text) == 0)
            return;
    keep_line(reload, text);
}

void reload_compare(struct reload *reload, const struct config *before, const struct config *after)
{
    reload->n_changes = config_compare(before, after, keep_line, reload);
    keep_if_replaced(reload, after->store_plugin);
    for (size_t i = 0; i < after->n_publishers; i++)
        keep_if_replaced(reload, after->publishers[i].plugin);
    for (size_t i = 0; i < after->routes.n_routes; i++)
        keep_if_replaced(reload, after->routes.routes[i].rule);
}

/* For the relay's row; NULL without memory, which shows nothing. */
static struct json_object *row_state(bool ok, struct json_object *lines)
{
    struct json_object *state = json_object_new_object();
    if (state && json_add_time(state, "at", clock_wall_us()) == 0 &&
        json_object_object_add(state, "ok", json_object_new_boolean(ok)) == 0 &&
        json_object_object_add(state, ok ? "changes" : "errors", lines) == 0)
        return state;
    json_object_put(state);
    return NULL;
}

static void add_row_line(struct json_object *lines, const char *text)
{
    if (lines && json_object_array_length(lines) < LINES_MAX)
        json_object_array_add(lines, json_object_new_string(text));
}

void reload_succeed(struct reload *reload, struct relay *relay, const char *name)
{
    struct json_object *lines = json_object_new_array();
    char left[512];
    if (reload->left[0]) {
        snprintf(left, sizeof left, "warning: left behind, because it does not come back: %s",
                 reload->left);
        keep_line(reload, left);
    }
    to_clients(reload, CONTROL_RELAY, name);
    for (size_t i = 0; i < reload->changes.n; i++) {
        const char *text = reload->changes.lines[i] ? reload->changes.lines[i] : "out of memory";
        bool warning = strncmp(text, "warning: ", 9) == 0;
        log_event(reload->log, warning ? OUTBOX_LOG_WARNING : OUTBOX_LOG_INFO, "reload", "change",
                  text, NULL);
        add_row_line(lines, text);
        if (i < LINES_MAX)
            to_clients(reload, CONTROL_CHANGE, text);
    }
    if (reload->n_changes == 0)
        to_clients(reload, CONTROL_CHANGE, "nothing has changed");
    reload->failed[0] = '\0';
    relay_set_reload(relay, row_state(true, lines));
    log_event(reload->log, OUTBOX_LOG_INFO,
              reload->n_changes > 0 ? "reloaded" : "reloaded; nothing has changed", "relay", name,
              "changes", LOG_NUM((int64_t)reload->n_changes), "ms",
              LOG_NUM((clock_monotonic_us() - reload->began_us) / 1000), NULL);
    finish(reload, EXIT_DONE);
}

void reload_fail(struct reload *reload, struct relay *relay, const struct config *config,
                 const struct opening_result *result, const char *why)
{
    struct json_object *lines = json_object_new_array();
    size_t n = result ? result->n_mistakes : 0;
    to_clients(reload, CONTROL_RELAY, config->name);
    for (size_t i = 0; i < n; i++) {
        const char *text = result->mistakes[i] ? result->mistakes[i] : "out of memory";
        log_event(reload->log, OUTBOX_LOG_ERROR, "reload: a mistake in the file", "error", text,
                  NULL);
        add_row_line(lines, text);
        if (i < LINES_MAX)
            to_clients(reload, CONTROL_MISTAKE, text);
    }
    if (why) {
        add_row_line(lines, why);
        to_clients(reload, CONTROL_FAILURE, why);
    }
    snprintf(reload->failed, sizeof reload->failed, "%s",
             n > 0 && result->mistakes[0] ? result->mistakes[0]
             : why                        ? why
                                          : "out of memory");
    relay_set_reload(relay, row_state(false, lines));
    log_event(reload->log, OUTBOX_LOG_ERROR, "reload failed; the relay goes on as it was", "relay",
              config->name, "mistakes", LOG_NUM((int64_t)n), "error", why, NULL);
    bool mistaken = !why && result && result->r == OUTBOX_E_CONFIG;
    finish(reload, mistaken ? EXIT_USAGE : EXIT_FAILED);
}
