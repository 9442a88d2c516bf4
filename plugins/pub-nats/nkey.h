/* SPDX-License-Identifier: Apache-2.0 */
/* nkey.h - without the library's header, which from 3.10 on cannot stand beside OpenSSL's. */
#pragma once

#include <outbox/helpers.h>

#define NKEY_MAX 64

/* The public key of the seed in a file. */
int nkey_public(const char *path, char ret[NKEY_MAX], struct outbox_err *err);
/* Begins the use of OpenSSL, which from then on cleans up at the end of the process. */
void nkey_begin(void);
