/* SPDX-License-Identifier: Apache-2.0 */
/* core_section.h - reads [relay] and [log], whose keys are all the core's. */
#ifndef CORE_CONFIG_CORE_SECTION_H
#define CORE_CONFIG_CORE_SECTION_H

#include "config/section.h"
#include "config/settings.h"

/* [relay]; before the publishers, for which it has the defaults. */
void core_section_relay(const struct section *s, const char *name);
void core_section_log(const struct section *s, const char *name);

/* Reads a section by a table of the core's into the model. */
void core_section_read(const struct section *s, const struct settings *settings);
/* Reports a minimum above its maximum, on the line of one of the two. */
void core_section_check_delivery(const struct section *s, const struct delivery *delivery);

#endif
