/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/first_process.h"

#include "cli/command.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reaps all that have ended; leaves with the worker's exit code when it is one of them. */
static void reap(pid_t worker)
{
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
        if (ended == worker)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void first_process_split(void)
{
    sigset_t all, before;
    siginfo_t got;
    if (getpid() != 1)
        return;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t worker = fork();
    if (worker < 0)
        exit(report_failure("cannot start as process 1: %m"));
    if (worker == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        return;
    }
    for (;;) {
        int signal = sigwaitinfo(&all, &got);
        if (signal > 0 && signal != SIGCHLD)
            kill(worker, signal);
        reap(worker);
    }
}
