/* SPDX-License-Identifier: Apache-2.0 */
/* route_section.h - reads [route NAME] and [router]; after all publishers, which they name. */
#ifndef CORE_CONFIG_ROUTE_SECTION_H
#define CORE_CONFIG_ROUTE_SECTION_H

#include "config/section.h"

void route_section_route(const struct section *s, const char *name);
void route_section_router(const struct section *s, const char *name);

#endif
