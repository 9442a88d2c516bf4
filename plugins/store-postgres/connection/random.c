/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

int random_token(int64_t *ret, struct outbox_err *err)
{
    ssize_t n;
    do
        n = getrandom(ret, sizeof *ret, 0);
    while (n < 0 && errno == EINTR);
    if (n != sizeof *ret)
        return outbox_fail(err, OUTBOX_E_RETRY, "no random numbers: %s", strerror(errno));
    *ret = (int64_t)((uint64_t)*ret >> 1) | 1;
    return OUTBOX_OK;
}
