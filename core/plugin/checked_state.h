/* SPDX-License-Identifier: Apache-2.0 */
/* checked_state.h - what a call of a plugin must leave as it was: in the thread, in the process. */
#pragma once

#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHECKED_SIGNALS 31

struct checked_state {
    sigset_t mask;
    struct {
        void (*handler)(int);
        int flags;
    } signals[CHECKED_SIGNALS + 1];
    char locale[256];
    locale_t thread_locale;
    dev_t device;
    ino_t directory;
    uint64_t environment;
    unsigned umask;
    int64_t printed[3]; /* bytes in descriptors 1 and 2, if they are files; only if `alone` */
    bool alone;
};

/* `alone`: nobody else prints. */
void checked_state_read(struct checked_state *state, bool alone);

typedef void (*checked_found_fn)(void *ctx, const char *rule, const char *what);
/* What is different now, by the names of rules. Sets the signal mask as it was. */
void checked_state_compare(const struct checked_state *before, checked_found_fn found, void *ctx);
