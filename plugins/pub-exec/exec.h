/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.h - an instance of pub-exec, and its two modes. The host lets one thread at a time use it,
 * so that no member needs a lock.
 */
#pragma once

#include "common/arena.h"

#include <outbox/plugin.h>

#include <stdbool.h>
#include <sys/types.h>

#define EXEC_CONCURRENCY_MAX 64

/* What of a co-process' stderr was logged in the last second. */
struct log_budget {
    int64_t since_us;
    uint32_t n;
    uint64_t n_dropped;
};

struct exec {
    const struct outbox_host *host;

    /* options */
    char **argv;
    char *directory; /* NULL: that of outboxd */
    char **base_env; /* what passes from our environment, NULL-terminated */
    size_t n_base_env;
    int64_t timeout_ms;
    uint32_t concurrency;
    uint32_t window;
    bool stream_mode;

    int null_fd;
    /* programs that could not be killed (abandoned.c) */
    pid_t abandoned[EXEC_CONCURRENCY_MAX];
    size_t n_abandoned;
    char last_abandoned[160];

    struct arena arena;          /* of one call: environments, reasons */
    int64_t collision_logged_us; /* when colliding headers were logged last */

    /* mode = stream (coprocess.c, stream_mode.c); times are monotonic */
    struct coprocess *co;      /* NULL: none runs */
    int64_t reply_interval_us; /* between two replies, on average; -1: not known yet */
    uint32_t n_failed;         /* co-processes in a row that ended without a reply */
    int64_t restart_us;        /* none is started before */
    struct log_budget log_budget;
    char last_error[512]; /* why the last co-process ended */
};

static inline int64_t exec_now_us(const struct exec *x)
{
    return x->host->monotonic_us(x->host);
}

/* Why a program that is there does not run, as a clause for people; empty: not known. */
const char *exec_hint(const struct exec *x);

/* ---- environment.c: what a program gets of our environment, and its message ---- */

/* Copies what passes from the environment of this process. */
int environment_base(struct exec *x, const struct outbox_cfg *cfg);
/* The environment for a message, in the arena. A *ret_why that is not NULL: the message cannot be
 * given to a program, there is no environment. */
int environment_of(struct exec *x, const struct outbox_message *msg, char ***ret,
                   const char **ret_why);

/* ---- the modes ---- */

int message_mode_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                         const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                         struct outbox_err *err);
int stream_mode_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                        const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                        struct outbox_err *err);
int stream_mode_keepalive(void *instance, struct outbox_keepalive *ret, struct outbox_err *err);
