/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - what `outboxd status` prints. */
#ifndef CORE_CLI_STATUS_H
#define CORE_CLI_STATUS_H

#include <outbox/store.h>

void status_print(const struct outbox_stats *stats, const struct outbox_relay_page *relays);
/* Returns an exit code. */
int status_print_json(const struct outbox_stats *stats, const struct outbox_relay_page *relays);

#endif
