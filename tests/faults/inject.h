/* SPDX-License-Identifier: Apache-2.0 */
/* inject.h - what the kinds of failure have in common. */
#pragma once

/* Here are the functions that it would replace. */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)
/* Of the one that this library stands before. */
#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

enum io_call { IO_OPEN = 1, IO_WRITE = 2, IO_SYNC = 4, IO_TRUNCATE = 8 };

extern struct orders {
    bool ready, all, from;
    const char *library; /* whose allocations alone count; NULL: not so */
    uint64_t nth;
    double probability;
    uint64_t seed;
    unsigned io;
    int io_errno, fds_errno, spawn_errno;
    uint64_t io_from;
    const char *pattern, *control, *report;
} orders;

extern _Atomic uint64_t allocations; /* that could have failed */

/* Is it the time for failures? */
bool switched_on(void);
/* The file's name; NULL: nobody's. */
const char *module_of(const void *at, uintptr_t *ret_base);
/* Fails a call: -1, with the error. */
int fail(const char *call, const void *caller, int error);
