/* SPDX-License-Identifier: Apache-2.0 */
/* core_section.h - reads [relay] and [log], which are the core's alone. */
#ifndef CORE_CONFIG_CORE_SECTION_H
#define CORE_CONFIG_CORE_SECTION_H

#include "config/section.h"

/* [relay]; before the publishers, for which it has the defaults. */
void core_section_relay(const struct section *s, const char *name);
void core_section_log(const struct section *s, const char *name);

/* Reports a minimum above its maximum, on the line of one of the two. */
void core_section_check_delivery(const struct section *s, const struct delivery *delivery);

#endif
