/* SPDX-License-Identifier: Apache-2.0 */
/* descriptor.h - what a plugin says of itself: its kind, its operations, its options; and does that
 * fit this host? */
#pragma once

#include <outbox/plugin.h>

#include <stddef.h>
#include <sys/stat.h>

/* A checked descriptor. What it points to belongs to the module, which stays. */
struct plugin {
    struct outbox_plugin desc; /* the smaller of both sizes copied, the rest zero */
    char *path;                /* the file; NULL for one made from a descriptor */
    struct stat file;          /* as it was when it was loaded */
    union {                    /* likewise; desc.kind says which one */
        struct outbox_store_ops store;
        struct outbox_publisher_ops publisher;
        struct outbox_rule_ops rule;
    } ops;
};

const char *descriptor_kind_name(uint32_t kind);   /* "store", "publisher", "rule" */
const char *descriptor_kind_prefix(uint32_t kind); /* "store", "pub", "rule" */

/* The i-th option of a plugin, by its stride. */
const struct outbox_option *descriptor_option(const struct plugin *plugin, size_t i);
/* By a name of n bytes; NULL: the plugin declares none. */
const struct outbox_option *descriptor_find_option(const struct plugin *plugin, const char *name,
                                                   size_t n);

/*
 * Checks a descriptor and copies it: NULL, short size, wrong kind, wrong name, needs a
 * newer host, missing operations, options badly declared (bad or duplicate or reserved name,
 * unknown type, default or choices that do not fit). `kind` 0 and `name` NULL: any.
 */
int descriptor_negotiate(const struct outbox_plugin *desc, uint32_t kind, const char *name,
                         struct plugin *ret, struct outbox_err *err);
