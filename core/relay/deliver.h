/* SPDX-License-Identifier: Apache-2.0 */
/* deliver.h - one publisher's share of a batch: published in chunks, each settled at once. */
#ifndef CORE_RELAY_DELIVER_H
#define CORE_RELAY_DELIVER_H

#include "relay/worker.h"

/* Publishes what was routed to this publisher. *ret_cut_short: not all of it fit the time. */
enum batch_state deliver_share(struct worker *w, size_t publisher, bool *ret_cut_short);

#endif
