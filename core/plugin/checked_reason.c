/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/checked_reason.h"

#include "base/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* More than this of a reason is not looked at. */
#define REASON_MAX 65536u
#define CLOBBERED 32768

struct checked_reason {
    const char *theirs;
    size_t n;
    char *ours;
};

bool checked_reason_read(const void *from, void *to, size_t n)
{
    struct iovec local = {.iov_base = to, .iov_len = n};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)from, .iov_len = n};
    if (n == 0)
        return true;
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got < 0 && errno != EFAULT) { /* a container may forbid it */
        memcpy(to, from, n);
        return true;
    }
    return got >= 0 && (size_t)got == n;
}

bool checked_reason_take(struct checked_reasons *reasons, struct outbox_str *text)
{
    struct outbox_str theirs = *text;
    *text = (struct outbox_str){NULL, 0};
    if (!theirs.p)
        return true;
    struct checked_reason reason = {.theirs = theirs.p,
                                    .n = theirs.n < REASON_MAX ? (size_t)theirs.n : REASON_MAX};
    if (!(reason.ours = malloc(reason.n + 1)))
        return true;
    struct checked_reason *added = NULL;
    bool readable = checked_reason_read(theirs.p, reason.ours, reason.n);
    if (readable)
        added = array_add(&reasons->list, &reasons->n, sizeof *added);
    if (!added) {
        free(reason.ours);
        return readable;
    }
    *added = reason;
    *text = (struct outbox_str){reason.ours, reason.n};
    return true;
}

__attribute__((noinline)) void checked_reason_clobber(void)
{
    volatile char below[CLOBBERED];
    for (size_t i = 0; i < sizeof below; i++)
        below[i] = 'Z';
}

bool checked_reason_same(struct checked_reasons *reasons)
{
    bool same = true;
    char *now = reasons->n && !reasons->told ? malloc(REASON_MAX) : NULL;
    for (size_t i = 0; now && i < reasons->n && same; i++) {
        const struct checked_reason *reason = &reasons->list[i];
        same = checked_reason_read(reason->theirs, now, reason->n) &&
               memcmp(now, reason->ours, reason->n) == 0;
    }
    free(now);
    reasons->told |= !same;
    return same;
}

void checked_reason_drop(struct checked_reasons *reasons)
{
    for (size_t i = 0; i < reasons->n; i++)
        free(reasons->list[i].ours);
    free(reasons->list);
    *reasons = (struct checked_reasons){.n = 0};
}
