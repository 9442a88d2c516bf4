/* SPDX-License-Identifier: Apache-2.0 */
/* outbox/plugin.h - all headers that a plugin needs. There is nothing to link. */
#ifndef OUTBOX_PLUGIN_H
#define OUTBOX_PLUGIN_H

#include <outbox/abi.h>
#include <outbox/helpers.h>
#include <outbox/publisher.h>
#include <outbox/rule.h>
#include <outbox/store.h>

#endif
