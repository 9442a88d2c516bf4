/* SPDX-License-Identifier: Apache-2.0 */
#include "abandoned.h"

#include <outbox/helpers.h>

#include <sys/wait.h>

void abandoned_add(struct exec *x, struct child *child)
{
    outbox_logf(x->host, OUTBOX_LOG_ERROR,
                "%.100s with pid %ld did not end when it and its group were killed, and is left "
                "behind: does it run as another user, or hang in the kernel?",
                x->argv[0], (long)child->pid);
    if (x->n_abandoned < sizeof x->abandoned / sizeof x->abandoned[0])
        x->abandoned[x->n_abandoned++] = child->pid;
    child_forget(child);
}

bool abandoned_allow(struct exec *x, const char **ret_why)
{
    size_t left = 0;
    for (size_t i = 0; i < x->n_abandoned; i++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)x->abandoned[i], &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
            x->abandoned[left++] = x->abandoned[i];
    }
    x->n_abandoned = left;
    snprintf(x->last_abandoned, sizeof x->last_abandoned,
             "%zu programs do not end although they were killed (the first has pid %ld); end them, "
             "then more are started",
             left, left ? (long)x->abandoned[0] : 0);
    *ret_why = x->last_abandoned;
    return left < x->concurrency;
}
