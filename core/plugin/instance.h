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

/* One instance of a plugin with its services. Do not move it in memory once opened. */
struct instance {
    struct outbox_host abi; /* first: the plugin gets a pointer to it */
    struct log *log;
    const struct plugin *plugin;
    void *self;
    char label[96];       /* "publisher mail" */
    pthread_mutex_t lock; /* of the counters */
    struct instance_counter counters[INSTANCE_COUNTERS];
};

/* Opens an instance. `log` and `cfg` are borrowed until instance_close. err->text begins with the
 * label. */
int instance_open(struct instance *instance, const struct plugin *plugin,
                  const struct outbox_cfg *cfg, const char *label, struct log *log,
                  struct outbox_err *err);
void instance_close(struct instance *instance); /* also when never opened (zeroed) */
