/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "connection/attempt.h"

/* Can the files be read, and do they fit? OUTBOX_OK, or OUTBOX_E_CONFIG with the option's name. */
int tls_check(const struct endpoint *endpoint, struct outbox_err *err);
/* Connects to the host and verifies it. OUTBOX_OK, or the attempt's code. */
int tls_connect(struct attempt *a);
/* OpenSSL's reason for its last failure in this thread, or NULL; static. */
const char *tls_last_error(void);
