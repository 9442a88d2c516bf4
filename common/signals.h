/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h - the signals of a fault (of a crash), and all the others, which threads that call
 * plugins block, and threads of plugins. A fault is never blocked: the kernel would end the process
 * without the handler of a fault.
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define SIGNALS_FAULTS                           \
    {                                            \
        SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT \
    }

/* Blocks all but those of a fault. */
static inline void signals_block(sigset_t *ret_before)
{
    static const int faults[] = SIGNALS_FAULTS;
    sigset_t most;
    sigfillset(&most);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&most, faults[i]);
    pthread_sigmask(SIG_SETMASK, &most, ret_before);
}

/* Stops or ends the process, as this signal does where it is not blocked. */
static inline void signals_act_by_default(int signal)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    raise(signal);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
}
