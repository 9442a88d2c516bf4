/* SPDX-License-Identifier: Apache-2.0 */
#include <outbox/outbox.h>

OUTBOX_EXPORT const char *outbox_version(void)
{
    return PACKAGE_VERSION;
}
