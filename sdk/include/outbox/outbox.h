/* SPDX-License-Identifier: Apache-2.0 */
/* outbox/outbox.h - liboutbox, for programs: see outbox_version() for what is here so far. */
#ifndef OUTBOX_OUTBOX_H
#define OUTBOX_OUTBOX_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library, "MAJOR.MINOR.PATCH"; static, any thread. */
const char *outbox_version(void);

#ifdef __cplusplus
}
#endif
#endif
