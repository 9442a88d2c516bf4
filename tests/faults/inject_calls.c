/* SPDX-License-Identifier: Apache-2.0 */
/* inject_calls.c - disks, descriptors, processes and threads that fail. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- disks */

static _Atomic uint64_t io_calls;

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

/* What open without a mode is in programs that are built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);

EXPORT int __open_2(const char *path, int flags)
{
    int error = open_error(path, flags);
    return error ? fail("open", CALLER, error) : REAL(open)(path, flags);
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
