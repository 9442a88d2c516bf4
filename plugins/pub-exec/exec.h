/* SPDX-License-Identifier: Apache-2.0 */
/* exec.h - an instance of pub-exec, and what its files share. */
#ifndef PUB_EXEC_EXEC_H
#define PUB_EXEC_EXEC_H

#include "common/arena.h"

#include <outbox/plugin.h>

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* What is kept of a program's stderr. */
#define STDERR_MAX 4096
/* From SIGTERM to SIGKILL, ms. */
#define TERM_GRACE_MS 1000

struct stream;

struct exec {
    const struct outbox_host *host;
    char **argv;
    char *directory; /* NULL: ours */
    char **base_env; /* what passes from our environment, NULL-terminated */
    size_t n_base_env;
    int64_t timeout_ms;
    uint32_t concurrency;
    uint32_t window;
    bool stream_mode;
    int null_fd;
    struct arena arena;    /* of one call: environments, reasons */
    struct stream *stream; /* the co-process, or NULL */
    int64_t answer_us;     /* between two answers of the co-process, about; -1: not known yet */
    uint32_t failures;     /* co-processes in a row that ended without an answer */
    int64_t retry_us;      /* monotonic: none is started before */
    int64_t collision_us;  /* when colliding headers were logged last */
    char trouble[512];     /* why the last co-process ended */
};

/* ---- child.c: a process, its group and its pipes ---- */

struct child {
    pid_t pid;  /* 0: none */
    int pid_fd; /* -1: none could be had; its end has to be asked for */
    int in_fd;  /* ours, to its stdin; -1: closed */
    int out_fd;
    int err_fd;
};

#define CHILD_NONE                                            \
    (struct child)                                            \
    {                                                         \
        .pid_fd = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1 \
    }

/*
 * Starts the program in a process group of its own. Its stdin is in_fd if that is not -1, else a
 * pipe from us; its stdout a pipe with `want_out`, else nothing. 0, or errno.
 */
int child_start(const struct exec *x, char *const *env, int in_fd, bool want_out,
                struct child *ret);
void child_signal(const struct child *child, int signal);
/* Has it ended? It stays to be collected. */
bool child_has_ended(const struct child *child);
/* How long a poll for it may take at most: all of ms where its end shows on pid_fd. */
int child_poll_ms(const struct child *child, int64_t ms);
/* Collects it (it has ended or was killed) and closes everything. *ret_info: how it ended. */
void child_reap(struct child *child, siginfo_t *ret_info);
void child_close(int *fd);
/* Not when another part of this process has collected it: then *ret_info is all zero. */
bool child_end_is_known(const siginfo_t *info);
/* Kills the whole group and reaps. */
void child_kill(struct child *child);
/* "exit 3", "killed by signal 9 (Killed)", with what it said on stderr. */
const char *child_describe(const siginfo_t *info, char out[64]);

/* Writing to a pipe without a reader must not kill the host, whatever it does about SIGPIPE. */
struct pipe_guard {
    sigset_t old;
    bool pending;
};
void pipe_guard_begin(struct pipe_guard *guard);
void pipe_guard_end(const struct pipe_guard *guard);

/* ---- environment.c ---- */

/* Copies what passes from the environment of this process. 0 or -1 without memory. */
int environment_base(struct exec *x, const struct outbox_cfg *cfg);
/*
 * The environment for a message, in the arena. NULL with *ret_why: the message cannot be given
 * to a program; NULL without: no memory.
 */
char **environment_for(struct exec *x, const struct outbox_message *msg,
                       struct outbox_str *ret_why);

/* ---- message_mode.c ---- */
int message_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                    const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                    struct outbox_err *err);

/* ---- stream_process.c: the co-process, its buffers ---- */

struct sent {
    uint64_t index; /* of the message in the call */
    int64_t sent_us;
    bool answered;
};

struct buffer {
    char *p;
    size_t n, room;
};

struct stream {
    struct child child;
    struct buffer out; /* to its stdin; `written` of it are gone */
    size_t written;
    struct buffer in;  /* from its stdout, the beginning of a line first */
    struct buffer log; /* from its stderr, likewise */
    struct sent *sent; /* a ring of window + 1 */
    size_t head, tail; /* the oldest unanswered; the next free */
    uint64_t answers;  /* since it was started */
    int64_t answer_us; /* monotonic: the last one, or when it was last given something to do */
    bool broken;       /* to be killed; `trouble` says why */
};

int stream_start(struct exec *x, struct outbox_err *err);
/* Ends it: the group is killed, or asked to finish first. Remembers why for the next call. */
void stream_kill(struct exec *x, const char *why);
void stream_finish(struct exec *x);
int buffer_add(struct buffer *b, const char *text, size_t n);
/* Reads what is there; false at the end of the file. */
bool stream_read_log(struct exec *x);
/* Has it ended? Then `trouble` says how and the co-process is gone. */
bool stream_has_ended(struct exec *x);
bool stream_fail(struct exec *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- stream_mode.c ---- */
int stream_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err);
int stream_tend(struct exec *x, struct outbox_keepalive *ret);

#endif
