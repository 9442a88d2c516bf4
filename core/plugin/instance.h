/* SPDX-License-Identifier: Apache-2.0 */
/* instance.h - the services that an opened plugin instance gets, and the opening itself. */
#pragma once

#include "base/log.h"
#include "plugin/options.h"
#include "plugin/plugin.h"

#include <pthread.h>

#define INSTANCE_COUNTERS 16

struct instance_counter {
    char name[48]; /* empty: free */
    int64_t value;
};

struct shared_state;

/* What an instance is opened with; all of it is borrowed until instance_close. */
struct instance_setup {
    const struct plugin *plugin;
    const struct outbox_cfg *cfg;
    const char *label;           /* "publisher mail"; copied */
    struct log *log;             /* NULL: none */
    struct shared_state *shared; /* of the section; NULL: the instance has one of its own */
    uint32_t publish_ms;         /* outbox_host.publish_ms */
};

/* One instance of a plugin with its services. Do not move it in memory once opened. */
struct instance {
    struct outbox_host abi; /* first: the plugin gets a pointer to it */
    struct log *log;
    const struct plugin *plugin;
    struct shared_state *shared;     /* NULL: the plugin has none */
    struct shared_state *own_shared; /* that is freed with the instance; NULL: the section's */
    void *self;
    uint64_t capabilities; /* of a store or publisher */
    char label[96];        /* "publisher mail" */
    pthread_mutex_t lock;  /* of the counters */
    struct instance_counter counters[INSTANCE_COUNTERS];
};

/* Opens an instance. err->text begins with the label. */
int instance_open(struct instance *instance, const struct instance_setup *setup,
                  struct outbox_err *err);
void instance_close(struct instance *instance); /* also when never opened (zeroed) */

/* The plugin as its file is named, without .so: "pub-x". */
#define INSTANCE_PLUGIN_SIZE 80
const char *instance_plugin(const struct instance *instance, char buffer[INSTANCE_PLUGIN_SIZE]);

/* The services alone, for shared_state.c. */
void instance_init_host(struct instance *instance, const struct instance_setup *setup);
void instance_destroy_host(struct instance *instance);
