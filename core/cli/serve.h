/* SPDX-License-Identifier: Apache-2.0 */
/* serve.h - the life of `outboxd run`: it opens a relay, and waits for signals, requests to reload,
 * and ends, each within its time. Nothing that a plugin does can keep it from that. */
#pragma once

#include "base/log.h"
#include "config/config.h"
#include "relay/relay.h"

/* `signals`: a descriptor for SIGTERM, SIGINT and SIGHUP. Fills *ret if a relay ran. *ret_busy:
 * a thread of a plugin still uses `config` and `log`, so that the process has to end by _exit.
 * Returns an exit code; EXIT_DONE also if it was stopped before it ran. */
int serve_run(const struct config *config, const struct relay_mode *mode, struct log *log,
              int signals, struct relay_report *ret, bool *ret_busy);
