/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void child_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Reads from ret[0] arrive from ret[1]; `ours` (0 or 1) does not block. */
static int make_pipe(int ours, int ret[2])
{
    if (pipe2(ret, O_CLOEXEC) < 0)
        return errno;
    fcntl(ret[ours], F_SETFL, O_NONBLOCK);
    return 0;
}

/* glibc's functions for attributes cannot fail. */
static void set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attr);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                       POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(attr, 0);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
}

static int spawn(const struct exec *x, char *const *env, const int fds[3], pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int e = posix_spawn_file_actions_init(&actions);
    set_attributes(&attr);
    for (int i = 0; i < 3; i++)
        e = e ? e : posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    e = e ? e : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (x->directory)
        e = e ? e : posix_spawn_file_actions_addchdir_np(&actions, x->directory);
    e = e ? e : posix_spawnp(ret, x->argv[0], &actions, &attr, x->argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

int child_start(const struct exec *x, char *const *env, int in_fd, bool want_out, struct child *ret)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    *ret = CHILD_NONE;
    int e = in_fd < 0 ? make_pipe(1, in) : 0;
    e = e ? e : want_out ? make_pipe(0, out) : 0;
    e = e ? e : make_pipe(0, err);
    const int fds[] = {in_fd < 0 ? in[0] : in_fd, want_out ? out[1] : x->null_fd, err[1]};
    e = e ? e : spawn(x, env, fds, &ret->pid);
    if (e == 0) {
        /* Without one we go on all the same: the program may have done its work by now. */
        ret->pid_fd = pidfd_open(ret->pid, 0);
        ret->in_fd = in[1];
        ret->out_fd = out[0];
        ret->err_fd = err[0];
        in[1] = out[0] = err[0] = -1;
    } else {
        ret->pid = 0;
    }
    for (int i = 0; i < 2; i++) {
        child_close(&in[i]);
        child_close(&out[i]);
        child_close(&err[i]);
    }
    return e;
}

/* Without a descriptor to wait on, how often to check, ms. */
#define CHECK_MS 5

bool child_has_ended(const struct child *child)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return errno == ECHILD; /* another part of this process has reaped it */
    return info.si_pid != 0;
}

int child_poll_ms(const struct child *child, int64_t ms)
{
    if (child->pid > 0 && child->pid_fd < 0 && ms > CHECK_MS)
        return CHECK_MS;
    return ms < 0 ? 0 : ms > INT32_MAX ? INT32_MAX : (int)ms;
}

bool child_write(struct child *child, struct outbox_str text, size_t *written)
{
    while (*written < text.n && child->in_fd >= 0) {
        ssize_t n = write(child->in_fd, text.p + *written, (size_t)text.n - *written);
        if (n >= 0)
            *written += (size_t)n;
        else if (errno == EAGAIN)
            return false;
        else if (errno != EINTR)
            child_close(&child->in_fd);
    }
    return true;
}

void child_signal(const struct child *child, int signal)
{
    /* Until it is reaped no other process has its number. */
    if (child->pid > 0 && (kill(-child->pid, signal) < 0 || getpgid(child->pid) != child->pid))
        kill(child->pid, signal);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

bool child_ends_within(const struct child *child, int ms)
{
    struct pollfd ended = {.fd = child->pid_fd, .events = POLLIN};
    int64_t until_ms = now_ms() + ms;
    while (!child_has_ended(child)) {
        int64_t left_ms = until_ms - now_ms();
        if (left_ms <= 0)
            return false;
        poll(&ended, 1, child_poll_ms(child, left_ms));
    }
    return true;
}

void child_forget(struct child *child)
{
    child_close(&child->pid_fd);
    child_close(&child->in_fd);
    child_close(&child->out_fd);
    child_close(&child->err_fd);
    *child = CHILD_NONE;
}

void child_reap(struct child *child, siginfo_t *ret_info)
{
    siginfo_t info = {0};
    while (child->pid > 0 && waitid(P_PID, (id_t)child->pid, &info, WEXITED) < 0 && errno == EINTR)
        info = (siginfo_t){0};
    child_forget(child);
    if (ret_info)
        *ret_info = info;
}

const char *child_describe(const siginfo_t *info, char out[64])
{
    if (info->si_pid == 0)
        snprintf(out, 64, "end unknown: another part of this process reaped it");
    else if (info->si_code == CLD_EXITED)
        snprintf(out, 64, "exit %d", info->si_status);
    else
        snprintf(out, 64, "killed by signal %d (%s)", info->si_status, strsignal(info->si_status));
    return out;
}
