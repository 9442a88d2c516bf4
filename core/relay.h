/* SPDX-License-Identifier: Apache-2.0 */
/* relay.h - the relay: workers that claim, route, publish and settle, and what keeps them going. */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#endif
