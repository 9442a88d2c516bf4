/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/command.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int folder = -1;
extern char **environ;
static char **first_environ;

void command_begin(void)
{
    folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    first_environ = environ;
}

/* Of a file in memory, for free(). */
static char *text_of(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)(n > 0 ? n : 0) + 1);
    if (text && n > 0 && pread(fd, text, (size_t)n, 0) != n)
        text[0] = '\0';
    return text;
}

static void become(const char *command, int in, int out, int errors)
{
    static const int defaults[] = {SIGPIPE, SIGTERM, SIGINT, SIGCHLD, SIGALRM};
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)command, NULL};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        signal(defaults[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid(); /* what it starts, such as a server, outlives the test's process */
    if (fchdir(folder) == 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(errors, 2) == 2)
        execve("/bin/sh", argv, first_environ);
    _exit(127);
}

static int await(pid_t pid, int seconds, int *status)
{
    int64_t end = clock_monotonic_us() + (int64_t)seconds * 1000000;
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (clock_monotonic_us() > end) {
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return -1;
        }
        poll(NULL, 0, 5);
    }
    return 0;
}

static int tell(const char *command, int seconds, int ended, int status, int errors,
                struct outbox_err *err)
{
    char *said = text_of(errors);
    for (char *p = said; p && *p; p++)
        *p = *p == '\n' ? ' ' : *p;
    const char *why = said && *said ? said : "it wrote nothing to stderr";
    int r = ended < 0 ? outbox_fail(err, OUTBOX_E_CONFIG, "`%.100s` did not end in %d s: %.200s",
                                    command, seconds, why)
            : WIFSIGNALED(status)
                ? outbox_fail(err, OUTBOX_E_CONFIG, "`%.100s` was ended by signal %d: %.200s",
                              command, WTERMSIG(status), why)
                : outbox_fail(err, OUTBOX_E_CONFIG, "`%.100s` ended with code %d: %.200s", command,
                              WEXITSTATUS(status), why);
    free(said);
    return r;
}

int command_run(const char *command, const char *input, int seconds, char **ret,
                struct outbox_err *err)
{
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    int errors = memfd_create("errors", MFD_CLOEXEC);
    int status = 0, r = OUTBOX_OK;
    size_t n = input ? strlen(input) : 0;
    if (in < 0 || out < 0 || errors < 0 || write(in, input, n) != (ssize_t)n)
        r = outbox_fail(err, OUTBOX_E_RETRY, "`%.100s`: %m", command);
    else
        lseek(in, 0, SEEK_SET);
    pid_t pid = r == OUTBOX_OK ? fork() : -1;
    if (pid == 0)
        become(command, in, out, errors);
    if (r == OUTBOX_OK && pid < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "`%.100s`: %m", command);
    if (r == OUTBOX_OK) {
        int ended = await(pid, seconds, &status);
        if (ended < 0 || status != 0)
            r = tell(command, seconds, ended, status, errors, err);
        else if (ret && !(*ret = text_of(out)))
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    close(in);
    close(out);
    close(errors);
    return r;
}
