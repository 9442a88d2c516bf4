/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login_settings.h - the options that say where to connect to, and as which user. They are read for
 * each login, so that a password or a url in a file can be changed while the relay runs.
 */
#pragma once

#include "connection/endpoint.h"

/*
 * OUTBOX_OK: *ret is the caller's reference, *ret_password is for secret_free. OUTBOX_E_CONFIG: the
 * text begins with an option's name. It does not read certificates: see tls_check.
 */
int login_settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                        struct endpoint **ret, char **ret_password, struct outbox_err *err);
