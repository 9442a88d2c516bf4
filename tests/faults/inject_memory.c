/* SPDX-License-Identifier: Apache-2.0 */
/* inject_memory.c - allocations that fail. */
#include "inject.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own, so that nothing has to be looked up before the first allocation. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static bool is_of(const char *library, const void *caller)
{
    uintptr_t base;
    const char *module = module_of(caller, &base);
    return module && strncmp(module, library, strlen(library)) == 0;
}

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
    if (!orders.ready || within)
        return false;
    if (orders.library ? !is_of(orders.library, caller) : !orders.all && !is_own(call, caller))
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
__attribute__((format(printf, 4, 0))) static int print(const char *call, const void *caller,
                                                       char **ret, const char *format, va_list ap)
{
    if (!no_memory(call, caller))
        return print_new(ret, format, ap);
    *ret = (char *)16;
    return -1;
}

#define PRINT(ret, format)                                  \
    va_list ap;                                             \
    va_start(ap, format);                                   \
    int n = print("asprintf", CALLER, (ret), (format), ap); \
    va_end(ap);                                             \
    return n

EXPORT int vasprintf(char **ret, const char *format, va_list ap)
{
    return print("vasprintf", CALLER, ret, format, ap);
}

EXPORT int asprintf(char **ret, const char *format, ...)
{
    PRINT(ret, format);
}

/* What programs that are built with _FORTIFY_SOURCE call instead. */
int __vasprintf_chk(char **ret, int flag, const char *format, va_list ap);
int __asprintf_chk(char **ret, int flag, const char *format, ...);

__attribute__((format(printf, 3, 0))) EXPORT int __vasprintf_chk(char **ret, int flag,
                                                                 const char *format, va_list ap)
{
    (void)flag;
    return print("vasprintf", CALLER, ret, format, ap);
}

__attribute__((format(printf, 3, 4))) EXPORT int __asprintf_chk(char **ret, int flag,
                                                                const char *format, ...)
{
    (void)flag;
    PRINT(ret, format);
}

EXPORT FILE *open_memstream(char **ret, size_t *ret_n)
{
    return no_memory("open_memstream", CALLER) ? NULL : REAL(open_memstream)(ret, ret_n);
}
