/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher_contract.h - what every publisher must do, whatever it stands on. A publisher's own
 * program says how it is configured and what has arrived, and runs publisher_contract().
 */
#pragma once

#include "plugin/instance.h"

#include <check.h>
#include <stdbool.h>

struct publisher_kind {
    const char *plugin;
    /* Before each case, and away with it. */
    void (*set_up)(void);
    void (*tear_down)(void);
    /* Options for a place that takes everything. */
    void (*configure)(struct outbox_cfg *cfg);
    /* Options for a place that takes seconds for a message. */
    void (*configure_slow)(struct outbox_cfg *cfg);
    /* How many messages have arrived with this id. */
    int (*arrived)(const char *id);
};

Suite *publisher_contract(const struct publisher_kind *kind);
/* For programs with cases of their own only. */
void publisher_use(const struct publisher_kind *kind);

/* ---- what cases use ---- */

/* Freed behind the case; returns the thing. */
void *mine(void *thing, void (*free_thing)(void *));
/* For the fixtures of other suites; publisher_contract() has its own. */
void free_made(void);

/* An instance with options set as NAME, VALUE ... NULL after those of `configure`. */
struct instance *a_publisher(const char *name, ...);
/* The same in two steps, for several instances of one section. */
struct outbox_cfg *a_section(const char *name, ...);
struct instance *an_instance(const struct outbox_cfg *section);
void close_publisher(struct instance *instance);
/* Why an instance with these options cannot be opened; static, until the next call. */
const char *a_mistake(const char *name, ...);
/* Instances log to this descriptor from now on. */
void publisher_logs_to(int fd);

/* n messages with ids PREFIX-1 ...; the payload is theirs all. */
struct batch {
    struct outbox_message *msgs;
    const struct outbox_message **msg_ptrs;
    struct outbox_outcome *outcomes;
    struct outbox_outcome **outcome_ptrs;
    uint64_t n;
    struct outbox_err err;
};
struct batch *a_batch(const char *prefix, uint64_t n, const char *payload);
/* Publishes all of it; outcomes are zeroed first. */
int publish(struct instance *instance, struct batch *batch, uint32_t timeout_ms, int cancel_fd);
void assert_verdicts(const struct batch *batch, uint32_t verdict);
/* The reason of an outcome as text; static, until the next call. */
const char *reason(const struct batch *batch, uint64_t i);

/* Open descriptors, and children, of this process. */
int count_fds(void);
int count_children(void);
int64_t now_ms(void);
#define LATE_MS 4000 /* which a busy machine may add to a deadline */
