/* SPDX-License-Identifier: Apache-2.0 */
/* inject.c - memory, disks, descriptors and processes that run out, on order. By hand:
 *
 *   LD_PRELOAD=BUILD/tests/faults/.libs/inject.so OUTBOX_INJECT_ALLOC=12 outboxd check
 *
 * OUTBOX_INJECT_ALLOC    which allocations fail
 *     N                  the N-th
 *     N+                 it and all that follow
 *     pX                 each with probability X
 * OUTBOX_INJECT_SCOPE    whose
 *     own                what outboxd, liboutbox and the plugins ask for (default)
 *     all                also what libraries ask for
 *     libNAME            only what this library asks for
 * OUTBOX_INJECT_SEED     for pX; the report says which it was
 * OUTBOX_INJECT_IO       CALLS:ERRNO:PATTERN, as write,sync:ENOSPC:*.db-wal
 *     CALLS              open (for writing), write, sync, truncate
 *     ERRNO              ENOSPC, EIO, EROFS
 *     PATTERN            a shell pattern of the whole path
 * OUTBOX_INJECT_IO_FROM  N: the first N - 1 such calls succeed
 * OUTBOX_INJECT_FDS      EMFILE or ENFILE: whatever makes a descriptor fails
 * OUTBOX_INJECT_SPAWN    EAGAIN or ENOMEM: new processes and threads fail
 * OUTBOX_INJECT_WHILE    FILE: nothing fails but while this file exists
 * OUTBOX_INJECT_REPORT   FILE: a line for each failure, "CALL in MODULE+OFFSET", and at the end
 *                        "allocations N seed S"
 */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct orders orders;
_Atomic uint64_t allocations;

/* ---- orders */

static int errno_named(const char *name, size_t n)
{
    static const struct {
        const char *name;
        int value;
    } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EROFS", EROFS},  {"EMFILE", EMFILE},
                 {"ENFILE", ENFILE}, {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM}};
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0)
            return known[i].value;
    if (name) { /* a test that injects nothing would pass */
        dprintf(2, "inject: unknown error %s\n", name);
        abort();
    }
    return 0;
}

static int errno_ordered(const char *variable)
{
    const char *name = getenv(variable);
    return errno_named(name, name ? strlen(name) : 0);
}

static void order_io(const char *text)
{
    const char *error = text ? strchr(text, ':') : NULL;
    const char *pattern = error ? strchr(error + 1, ':') : NULL;
    if (!pattern)
        return;
    char calls[64];
    snprintf(calls, sizeof calls, "%.*s", (int)(error - text), text);
    orders.io = (strstr(calls, "open") ? IO_OPEN : 0) | (strstr(calls, "write") ? IO_WRITE : 0) |
                (strstr(calls, "sync") ? IO_SYNC : 0) | (strstr(calls, "trunc") ? IO_TRUNCATE : 0);
    orders.io_errno = errno_named(error + 1, (size_t)(pattern - error - 1));
    orders.pattern = pattern + 1;
}

static uint64_t number(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void take_orders(void)
{
    const char *alloc = getenv("OUTBOX_INJECT_ALLOC"), *scope = getenv("OUTBOX_INJECT_SCOPE");
    if (alloc && *alloc == 'p') {
        orders.probability = strtod(alloc + 1, NULL);
    } else if (alloc) {
        char *end;
        orders.nth = strtoull(alloc, &end, 10);
        orders.from = *end == '+';
    }
    orders.all = scope && strcmp(scope, "all") == 0;
    orders.library = scope && strncmp(scope, "lib", 3) == 0 ? scope : NULL;
    orders.seed = number("OUTBOX_INJECT_SEED", (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid());
    order_io(getenv("OUTBOX_INJECT_IO"));
    orders.io_from = number("OUTBOX_INJECT_IO_FROM", 1);
    orders.fds_errno = errno_ordered("OUTBOX_INJECT_FDS");
    orders.spawn_errno = errno_ordered("OUTBOX_INJECT_SPAWN");
    orders.control = getenv("OUTBOX_INJECT_WHILE");
    orders.report = getenv("OUTBOX_INJECT_REPORT");
    orders.ready = true;
}

bool switched_on(void)
{
    int e = errno;
    bool on = !orders.control || access(orders.control, F_OK) == 0;
    errno = e;
    return on;
}

/* ---- reports */

/* By the kernel's calls: the allocation that fails may be dlerror's, and looking for a function by
 * dlsym in the middle of that would free what it works on. */
static void report(const char *text)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, orders.report,
                          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    if (syscall(SYS_write, fd, text, strlen(text)) < 0)
        abort();
    close(fd);
}

const char *module_of(const void *at, uintptr_t *ret_base)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)(uintptr_t)at, &found) != 0)
        return NULL;
    *ret_base = found.dlfo_link_map->l_addr;
    const char *path = found.dlfo_link_map->l_name, *slash = strrchr(path, '/');
    return slash ? slash + 1 : *path ? path : "outboxd"; /* the program itself has no name */
}

int fail(const char *call, const void *caller, int error)
{
    uintptr_t base = 0;
    const char *module = module_of(caller, &base);
    if (orders.report) {
        char line[256];
        snprintf(line, sizeof line, "%s in %s+%#lx\n", call, module ? module : "?",
                 (unsigned long)((uintptr_t)caller - base));
        report(line);
    }
    errno = error;
    return -1;
}

__attribute__((destructor)) static void sum_up(void)
{
    char line[128];
    snprintf(line, sizeof line, "allocations %llu seed %llu\n", (unsigned long long)allocations,
             (unsigned long long)orders.seed);
    if (orders.report)
        report(line);
}

/* How outboxd ends: without destructors. */
EXPORT void _exit(int code)
{
    sum_up();
    syscall(SYS_exit_group, code);
    abort();
}
