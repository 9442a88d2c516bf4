/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - work for levels 4 and 5: messages by number, and what is known of each, in memory that
 * outlives the process that uses the plugin. */
#pragma once

#include "plugin/instance.h"

#include <stdatomic.h>
#include <stdbool.h>

#define LOAD_MESSAGES (1u << 18)

/* Of a message. */
#define LOAD_WRITTEN 1u /* saved in the store; it said so */
#define LOAD_CLAIMED 4u /* from the store, at least once */
#define LOAD_DONE 2u    /* accepted by the publisher, or settled as done; it said so */

struct load {
    atomic_uchar state[LOAD_MESSAGES];
    atomic_uint next;      /* number */
    atomic_uint n_done;    /* by the publisher, the store or (decisions) the rule */
    atomic_uint down;      /* not 0: the server is stopped, for that time */
    atomic_uint lies;      /* accepted while it was */
    atomic_uint again;     /* claimed after they were settled as done */
    atomic_bool pause;     /* instances are to wait between two steps */
    atomic_uint n_waiting; /* that do */
    atomic_bool end;
    char trouble[400]; /* the last thing that went wrong */
};

/* One instance that works. */
struct loader {
    struct load *load;
    struct instance instance;
    struct instance_setup setup;
    bool open;
};

/* An empty one, shared with processes that are started later. */
struct load *load_new(void);
/* The number of a message's id; LOAD_MESSAGES: none of ours. */
uint32_t load_number(struct outbox_str id);
/* The id of a number; static, until the next call of the thread. */
const char *load_id(uint32_t number);

/* Opens the instance if it is not open: one step, of some milliseconds where all is well.
 * `pause_ms`: between two batches. */
void loader_step(struct loader *l, int pause_ms);
void loader_close(struct loader *l);

/* Works with LOAD_INSTANCES until load->end. */
#define LOAD_INSTANCES 2
void load_work(struct load *load, int pause_ms);
