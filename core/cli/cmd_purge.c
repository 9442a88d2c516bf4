/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_purge.c - outboxd purge: retention by hand. */
#include "cli/command.h"
#include "cli/progress.h"

struct args {
    struct syntax_args common;
    int64_t older_ms; /* -1: not given */
    uint32_t statuses;
    bool dry_run;
};

static const struct syntax_option options[] = {
    {"older-than", 'o', SYNTAX_DURATION, offsetof(struct args, older_ms), "DURATION",
     "Only what is older, say 7d; needed. 0: all"},
    {"status", 's', SYNTAX_STATUS, offsetof(struct args, statuses), "STATUS",
     "processed (default) or failed; may be repeated"},
    {"dry-run", 'n', SYNTAX_FLAG, offsetof(struct args, dry_run), NULL,
     "Tell how many there are, and delete nothing"},
    {0},
};

static void check(struct argp_state *state, void *data)
{
    struct args *args = data;
    if (args->older_ms < 0)
        argp_error(state, "--older-than is needed");
    if (!args->statuses)
        args->statuses = OUTBOX_PROCESSED;
    if (args->statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED))
        argp_error(state, "only processed and failed messages can be deleted");
}

/* A purge needs no cursor: what it changed is gone. */
static int purge_batch(struct store *store, const struct outbox_filter *filter, int64_t *after,
                       uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                       struct outbox_err *err)
{
    (void)after;
    return store_purge(store, filter, limit, call, ret_n, err);
}

static int purge(struct store *store, void *data)
{
    static const struct bulk bulk = {"purge", "deleted", purge_batch, true};
    const struct args *args = data;
    const struct outbox_filter filter = {
        .size = sizeof filter, .statuses = args->statuses, .older_than_ms = args->older_ms};
    return bulk_run(&bulk, store, &filter, args->dry_run);
}

const struct command cmd_purge = {
    .name = "purge",
    .summary = "delete old messages",
    .syntax.options = options,
    .syntax.doc =
        "Deletes old messages in small batches; never what is pending or processing. Processed "
        "ones are as old as their processing, failed ones as their creation.",
    .syntax.check = check,
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.older_ms = -1},
    .run_store = purge,
};
