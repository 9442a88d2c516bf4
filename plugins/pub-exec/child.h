/* SPDX-License-Identifier: Apache-2.0 */
/* child.h - a process in a group of its own, watched by a descriptor, never by SIGCHLD. */
#pragma once

#include "exec.h"

#include <signal.h>
#include <sys/types.h>

struct child {
    pid_t pid;  /* 0: none */
    int pid_fd; /* readable when it has ended; -1: there was no descriptor for it */
    int in_fd;  /* our ends of its stdin, stdout and stderr; -1: closed */
    int out_fd;
    int err_fd;
};

#define CHILD_NONE ((struct child){.pid_fd = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1})

/*
 * Starts the program in a process group of its own. Its stdin is in_fd if that is not -1, else a
 * pipe from us; its stdout a pipe with `want_out`, else nothing. 0, or errno.
 */
int child_start(const struct exec *x, char *const *env, int in_fd, bool want_out,
                struct child *ret);
/* Writes what is left of a text to its stdin, as far as the pipe takes it; false: more is left. A
 * stdin that is not read any more is closed: its exit or its time-out shows the rest. */
bool child_write(struct child *child, struct outbox_str text, size_t *written);
/* To the whole group, and to the program itself, should it have left that group. */
void child_signal(const struct child *child, int signal);
/* Has it ended? It stays to be reaped. */
bool child_has_ended(const struct child *child);
/* How long a poll for its end may take: all of ms where the end shows on pid_fd. */
int child_poll_ms(const struct child *child, int64_t ms);
/* Waits for its end and closes everything. *ret_info: how it ended; all zero when another part of
 * this process reaped it. */
void child_reap(struct child *child, siginfo_t *ret_info);
/* Closes everything and forgets the process, which is not reaped. */
void child_forget(struct child *child);
/* Has it ended within ms? It stays to be reaped. */
bool child_ends_within(const struct child *child, int ms);
void child_close(int *fd);
/* "exit 3", "killed by signal 9 (Killed)". */
const char *child_describe(const siginfo_t *info, char out[64]);
