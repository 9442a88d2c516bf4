/* SPDX-License-Identifier: Apache-2.0 */
/* publish.h - messages for publishers, and publishing them by whichever form the plugin has. */
#pragma once

#include "plugin/instance.h"

/* n messages with their outcomes; all texts can be written to, so that a plugin that does it is
 * found out, and does not crash. */
struct batch {
    struct outbox_message *msgs;
    const struct outbox_message **msg_ptrs;
    struct outbox_outcome *outcomes;
    struct outbox_outcome **outcome_ptrs;
    uint64_t n;
    struct outbox_err err;
    void **copies; /* texts, freed with it */
    size_t n_copies;
    /* Messages whose outcomes did not come: the plugin may have them until its close. */
    uint64_t n_kept;
    uint64_t n_again; /* how many were handed over once more by batch_publish_all */
};

/* Zeroed ones, with room for one more behind; ends the process without memory. */
struct batch *batch_new(uint64_t n);
/* Frees nothing of a batch that the plugin may still have. */
void batch_free(struct batch *b);
/* The id as a UUID that differs by run, by `series` and by `i`. */
void batch_set_id(struct batch *b, uint64_t i, uint32_t series);
/* A copy of a text, which lives as long as the batch; NULL: SQL NULL. */
struct outbox_str batch_copy(struct batch *b, const char *text, uint64_t n);

/* Publishes all of it once; outcomes are zeroed first. The result is the plugin's own. */
int batch_publish(struct batch *b, const struct instance *instance, const struct outbox_call *call);
/* Once more, what has no outcome; at least one has none. */
int batch_publish_unset(struct batch *b, const struct instance *instance,
                        const struct outbox_call *call);
/* As a host does it: while calls succeed and give outcomes, what they left unset is in the next. */
int batch_publish_all(struct batch *b, const struct instance *instance,
                      const struct outbox_call *call);
/* How many are accepted; *ret_other (may be NULL): the first that is not, or n. */
uint64_t batch_accepted(const struct batch *b, uint64_t *ret_other);
/* What became of one, for people; static, until the next call. */
const char *batch_tell(const struct batch *b, uint64_t i);
