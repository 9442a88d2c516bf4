/* SPDX-License-Identifier: Apache-2.0 */
/* fingerprint.h - do two relays send the same message to the same place? */
#ifndef CORE_CONFIG_FINGERPRINT_H
#define CORE_CONFIG_FINGERPRINT_H

struct config;

/* Sets the hash of a configuration whose publishers and routes are complete. */
void fingerprint_set(struct config *config);

#endif
