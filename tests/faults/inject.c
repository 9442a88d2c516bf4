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
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* glibc's own, so that nothing has to be looked up before the first allocation. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

#define EXPORT __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)
/* Of the one that this library stands before. */
#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

enum io_call { IO_OPEN = 1, IO_WRITE = 2, IO_SYNC = 4, IO_TRUNCATE = 8 };

static struct {
    bool ready, all, from;
    uint64_t nth;
    double probability;
    uint64_t seed;
    unsigned io;
    int io_errno, fds_errno, spawn_errno;
    uint64_t io_from;
    const char *pattern, *control, *report;
} orders;

static _Atomic uint64_t allocations, io_calls;

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
    orders.seed = number("OUTBOX_INJECT_SEED", (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid());
    order_io(getenv("OUTBOX_INJECT_IO"));
    orders.io_from = number("OUTBOX_INJECT_IO_FROM", 1);
    orders.fds_errno = errno_ordered("OUTBOX_INJECT_FDS");
    orders.spawn_errno = errno_ordered("OUTBOX_INJECT_SPAWN");
    orders.control = getenv("OUTBOX_INJECT_WHILE");
    orders.report = getenv("OUTBOX_INJECT_REPORT");
    orders.ready = true;
}

static bool switched_on(void)
{
    int e = errno;
    bool on = !orders.control || access(orders.control, F_OK) == 0;
    errno = e;
    return on;
}

/* ---- reports */

static void report(const char *text)
{
    static int (*real)(const char *, int, ...);
    if (!real)
        real = REAL(open);
    int fd = real(orders.report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    static ssize_t (*real_write)(int, const void *, size_t);
    if (!real_write)
        real_write = REAL(write);
    real_write(fd, text, strlen(text));
    close(fd);
}

static const char *module_of(const void *at, uintptr_t *ret_base)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)(uintptr_t)at, &found) != 0)
        return NULL;
    *ret_base = found.dlfo_link_map->l_addr;
    const char *path = found.dlfo_link_map->l_name, *slash = strrchr(path, '/');
    return slash ? slash + 1 : *path ? path : "outboxd"; /* the program itself has no name */
}

/* Fails a call: -1, with the error. */
static int fail(const char *call, const void *caller, int error)
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

/* ---- memory */

/* The C library's reallocations are the texts that grow in its streams, and those are ours. */
static bool is_own(const char *call, const void *caller)
{
    uintptr_t base;
    const char *module = module_of(caller, &base);
    return module && (strncmp(module, "outboxd", 7) == 0 || strncmp(module, "liboutbox", 9) == 0 ||
                      strncmp(module, "store-", 6) == 0 || strncmp(module, "pub-", 4) == 0 ||
                      strncmp(module, "rule-", 5) == 0 ||
                      (strncmp(module, "libc.so", 7) == 0 && strcmp(call, "realloc") == 0));
}

/* Of the n-th number of the seed: splitmix64. */
static double chance(uint64_t n)
{
    uint64_t z = orders.seed + n * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / (double)(1ull << 53);
}

/* Is this call to fail? */
static bool no_memory(const char *call, const void *caller)
{
    static _Thread_local bool within; /* what failing itself allocates */
    if (!orders.ready || within || (!orders.all && !is_own(call, caller)))
        return false;
    uint64_t n = ++allocations;
    bool now = orders.probability > 0 ? chance(n) < orders.probability
               : orders.from          ? n >= orders.nth
                                      : n == orders.nth;
    if (!now || !switched_on())
        return false;
    within = true;
    fail(call, caller, ENOMEM);
    within = false;
    return true;
}

EXPORT void *malloc(size_t n)
{
    return no_memory("malloc", CALLER) ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return no_memory("calloc", CALLER) ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n)
{
    return no_memory("realloc", CALLER) ? NULL : __libc_realloc(p, n);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return no_memory("reallocarray", CALLER) ? NULL : __libc_realloc(p, bytes);
}

EXPORT void *memalign(size_t alignment, size_t n)
{
    return no_memory("memalign", CALLER) ? NULL : __libc_memalign(alignment, n);
}

EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
    return no_memory("aligned_alloc", CALLER) ? NULL : __libc_memalign(alignment, n);
}

EXPORT int posix_memalign(void **ret, size_t alignment, size_t n)
{
    *ret = no_memory("posix_memalign", CALLER) ? NULL : __libc_memalign(alignment, n);
    return *ret ? 0 : ENOMEM;
}

/* What allocates inside the C library, on behalf of its caller. */
EXPORT char *strndup(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *copy = no_memory("strndup", CALLER) ? NULL : __libc_malloc(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

EXPORT char *strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = no_memory("strdup", CALLER) ? NULL : __libc_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}

__attribute__((format(printf, 2, 0))) static int print_new(char **ret, const char *format,
                                                           va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    *ret = n < 0 ? NULL : __libc_malloc((size_t)n + 1);
    return *ret ? vsnprintf(*ret, (size_t)n + 1, format, ap) : -1;
}

/* Without memory glibc leaves the pointer undefined: so that nobody relies on NULL. */
EXPORT int vasprintf(char **ret, const char *format, va_list ap)
{
    if (!no_memory("vasprintf", CALLER))
        return print_new(ret, format, ap);
    *ret = (char *)16;
    return -1;
}

EXPORT int asprintf(char **ret, const char *format, ...)
{
    if (no_memory("asprintf", CALLER)) {
        *ret = (char *)16;
        return -1;
    }
    va_list ap;
    va_start(ap, format);
    int n = print_new(ret, format, ap);
    va_end(ap);
    return n;
}

EXPORT FILE *open_memstream(char **ret, size_t *ret_n)
{
    return no_memory("open_memstream", CALLER) ? NULL : REAL(open_memstream)(ret, ret_n);
}

/* ---- disks */

static bool disk_fails(enum io_call call, const char *path)
{
    return (orders.io & call) && fnmatch(orders.pattern, path, 0) == 0 && switched_on() &&
           ++io_calls >= orders.io_from;
}

static bool disk_fails_fd(enum io_call call, int fd)
{
    char link[64], path[PATH_MAX];
    if (!(orders.io & call))
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return disk_fails(call, path);
}

#define ON_FD(call, name, fd, ...) \
    (disk_fails_fd(call, fd) ? fail(#name, CALLER, orders.io_errno) : REAL(name)(fd, ##__VA_ARGS__))

EXPORT ssize_t write(int fd, const void *from, size_t n)
{
    return ON_FD(IO_WRITE, write, fd, from, n);
}

EXPORT ssize_t pwrite(int fd, const void *from, size_t n, off_t at)
{
    return ON_FD(IO_WRITE, pwrite, fd, from, n, at);
}

EXPORT ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at)
{
    return ON_FD(IO_WRITE, pwrite64, fd, from, n, at);
}

EXPORT int fsync(int fd)
{
    return ON_FD(IO_SYNC, fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    return ON_FD(IO_SYNC, fdatasync, fd);
}

EXPORT int ftruncate(int fd, off_t n)
{
    return ON_FD(IO_TRUNCATE, ftruncate, fd, n);
}

EXPORT int ftruncate64(int fd, off64_t n)
{
    return ON_FD(IO_TRUNCATE, ftruncate64, fd, n);
}

/* ---- descriptors */

static bool no_descriptor(void)
{
    return orders.fds_errno && switched_on();
}

#define NEW_FD(name, ...) \
    (no_descriptor() ? fail(#name, CALLER, orders.fds_errno) : REAL(name)(__VA_ARGS__))

/* The error that an open meets, or 0. */
static int open_error(const char *path, int flags)
{
    if (no_descriptor())
        return orders.fds_errno;
    bool writes = (flags & (O_ACCMODE | O_CREAT)) != O_RDONLY;
    return writes && disk_fails(IO_OPEN, path) ? orders.io_errno : 0;
}

static mode_t mode_of(int flags, va_list ap)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

/* The body of one of the family; `...` is what comes before the path, with its comma. */
#define OPEN(name, ...)                  \
    va_list ap;                          \
    va_start(ap, flags);                 \
    mode_t mode = mode_of(flags, ap);    \
    va_end(ap);                          \
    int error = open_error(path, flags); \
    return error ? fail(#name, CALLER, error) : REAL(name)(__VA_ARGS__ path, flags, mode)

EXPORT int open(const char *path, int flags, ...)
{
    OPEN(open, );
}

EXPORT int open64(const char *path, int flags, ...)
{
    OPEN(open64, );
}

EXPORT int openat(int at, const char *path, int flags, ...)
{
    OPEN(openat, at, );
}

EXPORT int pipe2(int fds[2], int flags)
{
    return NEW_FD(pipe2, fds, flags);
}

EXPORT int pipe(int fds[2])
{
    return NEW_FD(pipe, fds);
}

EXPORT int socket(int domain, int type, int protocol)
{
    return NEW_FD(socket, domain, type, protocol);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *n, int flags)
{
    return NEW_FD(accept4, fd, address, n, flags);
}

EXPORT int eventfd(unsigned count, int flags)
{
    return NEW_FD(eventfd, count, flags);
}

EXPORT int inotify_init1(int flags)
{
    return NEW_FD(inotify_init1, flags);
}

EXPORT int pidfd_open(pid_t pid, unsigned flags);
EXPORT int pidfd_open(pid_t pid, unsigned flags)
{
    return NEW_FD(pidfd_open, pid, flags);
}

/* ---- processes and threads: these return the error */

#define NEW_TASK(name, ...)                                              \
    (orders.spawn_errno && switched_on()                                 \
         ? (fail(#name, CALLER, orders.spawn_errno), orders.spawn_errno) \
         : REAL(name)(__VA_ARGS__))

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    return NEW_TASK(posix_spawn, pid, path, actions, attributes, argv, env);
}

EXPORT int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    return NEW_TASK(posix_spawnp, pid, path, actions, attributes, argv, env);
}

EXPORT int pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *arg)
{
    return NEW_TASK(pthread_create, ret, attributes, start, arg);
}
