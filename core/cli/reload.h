/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.h - the reloads of one `outboxd run`: who asked for one, and how it is told to them, to
 * the log and in the relay's row. One at a time; who asks meanwhile gets the next one.
 */
#pragma once

#include "cli/control.h"
#include "cli/opening.h"
#include "cli/service.h"
#include "config/config.h"
#include "relay/relay.h"

/* Lines for people, in order. */
struct reload_lines {
    char **lines;
    size_t n;
};

struct reload {
    struct log *log;
    struct service *service;
    int listening;    /* -1: `outboxd reload` does not reach this process */
    bool wanted;      /* by SIGHUP or by a client */
    char failed[300]; /* why the last one did; empty: it did not */
    int *next;        /* clients that wait for the next one */
    size_t n_next;

    /* The one that runs. */
    int *clients;
    size_t n_clients;
    int64_t began_us;
    struct reload_lines changes;
    size_t n_changes; /* of these, of what differs */
    char left[400];   /* what an earlier worker does that did not come back; empty: none */
};

void reload_init(struct reload *reload, const char *file, struct log *log, struct service *service);
void reload_free(struct reload *reload);

/* A client may be there. */
void reload_accept(struct reload *reload);
/* One begins, for all who asked until now. */
void reload_begin(struct reload *reload);

/* What differs, as far as people see it; remembered until reload_succeed. */
void reload_compare(struct reload *reload, const struct config *before, const struct config *after);
/* It has succeeded; `relay` is the one that works now. */
void reload_succeed(struct reload *reload, struct relay *relay, const char *name);
/* Nothing has changed, because of these mistakes of the file, or of `why`. */
void reload_fail(struct reload *reload, struct relay *relay, const struct config *config,
                 const struct opening_result *result, const char *why);
