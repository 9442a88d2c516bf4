/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher_contract.h - what every publisher must do, whatever it stands on. outbox-conform runs
 * it, and a publisher's own program in tests/, which says how the publisher is configured and what
 * has arrived.
 */
#pragma once

#include "conform/kit.h"
#include "conform/publish.h"

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
    /* How many messages have arrived with this id; NULL: it cannot be asked. */
    int (*arrived)(const char *id);
    /* An opened module with its options, instead of `plugin` and the two above; NULL: none. */
    const struct plugin *(*module)(const struct outbox_cfg **ret_cfg);
    /* The time that a publish has, ms; 0: a minute. */
    uint32_t publish_ms;
};

Suite *publisher_contract(const struct publisher_kind *kind);
/* The same for outbox-conform: level 2. */
void publisher_contract_add(const struct publisher_kind *kind, const struct kit_sink *sink);
/* For programs with cases of their own only. */
void publisher_use(const struct publisher_kind *kind);

/* ---- what cases use (publisher_rig.c) ---- */

const struct publisher_kind *publisher_kind(void);
/* Instances that are opened later have a shared state in common, as those of a section do. */
void share_instances(void);
/* One whose place takes seconds for a message. */
struct instance *a_slow_publisher(void);

/* Freed behind the case; returns the thing. */
void *mine(void *thing, void (*free_thing)(void *));
/* For the fixtures of other suites; publisher_contract() has its own. */
void free_made(void);

/* An instance with options set as NAME, VALUE ... NULL after those of `configure`. */
struct instance *a_publisher(const char *name, ...);
/* The same in two steps, for several instances of one section. */
struct outbox_cfg *a_section(const char *name, ...);
struct instance *another_publisher(const struct outbox_cfg *section);
void close_publisher(struct instance *instance);
/* Why an instance with these options cannot be opened; static, until the next call. */
const char *a_mistake(const char *name, ...);
/* Instances log to this descriptor from now on. */
void publisher_logs_to(int fd);

/* n messages with ids PREFIX-1 ...; the payload is theirs all. */
struct batch *a_batch(const char *prefix, uint64_t n, const char *payload);
/* Publishes all of it; outcomes are zeroed first. The second: with all the time that there is, and
 * once more what is unset, as batch_publish_all does. */
int publish(struct instance *instance, struct batch *batch, uint32_t timeout_ms, int cancel_fd);
int publish_all(struct instance *instance, struct batch *batch);
void assert_verdicts(const struct batch *batch, uint32_t verdict);
/* The reason of an outcome as text; static, until the next call. */
const char *reason(const struct batch *batch, uint64_t i);

/* Open descriptors, and children, of this process. */
int count_fds(void);
int count_children(void);
#define LATE_MS 4000 /* which a busy machine may add to a deadline */
