/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/apart.h"

#include "cli/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The exit codes of a child that has come back, so that they differ from those of a plugin that
 * calls exit(). */
#define CAME_BACK 64
#define CODES 10

static _Noreturn void be_child(int (*work)(void *ctx), void *ctx, FILE *output,
                               const sigset_t *signals)
{
    sigprocmask(SIG_SETMASK, signals, NULL);
    crash_uninstall();
    if (dup2(fileno(output), STDOUT_FILENO) < 0)
        _exit(EXIT_FAILURE);
    int code = work(ctx);
    if (fflush(stdout) != 0)
        _exit(EXIT_FAILURE);
#ifdef EXIT_HANDLERS
    exit(CAME_BACK + code);
#else
    _exit(CAME_BACK + code);
#endif
}

/* Has the child ended within the time? SIGCHLD is blocked. It is reaped in any case. */
static bool wait_for(pid_t child, int seconds, const sigset_t *sigchld, int *ret_status)
{
    struct timespec now, until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    while (waitpid(child, ret_status, WNOHANG) == 0) {
        struct timespec left = {1, 0};
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > until.tv_sec ||
            (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec)) {
            kill(child, SIGKILL);
            waitpid(child, ret_status, 0);
            return false;
        }
        sigtimedwait(sigchld, NULL, &left);
    }
    return true;
}

static int print(FILE *output)
{
    char buffer[4096];
    size_t n;
    rewind(output);
    while ((n = fread(buffer, 1, sizeof buffer, output)) > 0)
        fwrite(buffer, 1, n, stdout); /* whoever flushes reports its error */
    return ferror(output) ? -1 : 0;
}

/* What became of the child: its code, or -1. */
static int judge(int status, bool ended, int seconds, char *why, size_t why_size)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) - CAME_BACK : -1;
    if (ended && code >= 0 && code < CODES)
        return code;
    if (!ended)
        snprintf(why, why_size, "did not come back within %d s", seconds);
    else if (WIFSIGNALED(status))
        snprintf(why, why_size, "crashed (SIG%s)", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(why, why_size, "ended the process (exit %d)", WEXITSTATUS(status));
    return -1;
}

int apart_run(int (*work)(void *ctx), void *ctx, int seconds, char *why, size_t why_size)
{
    sigset_t sigchld, before;
    int status = 0, code = -1;
    int fd = memfd_create("output", MFD_CLOEXEC); /* no folder need be writable */
    FILE *output = fd >= 0 ? fdopen(fd, "w+") : NULL;
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &sigchld, &before);
    fflush(stdout);
    pid_t child = output ? fork() : -1;
    if (child == 0)
        be_child(work, ctx, output, &before);
    if (child > 0) {
        bool ended = wait_for(child, seconds, &sigchld, &status);
        code = judge(status, ended, seconds, why, why_size);
    } else {
        snprintf(why, why_size, "cannot be looked at: %s", strerror(errno));
    }
    if (code >= 0 && print(output) < 0) {
        snprintf(why, why_size, "cannot be looked at: %s", strerror(errno));
        code = -1;
    }
    if (output)
        fclose(output);
    else if (fd >= 0)
        close(fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return code;
}
