/* SPDX-License-Identifier: Apache-2.0 */
/* option_json.h - an option of a section as programs read it: those of plugins, and the core's. */
#pragma once

#include <outbox/abi.h>

#include <json-c/json.h>

/* "text", "integer" and so on; "" for a type that there is not. */
const char *option_json_type(uint32_t type);

/* All that its declaration says; NULL without memory. */
struct json_object *option_json(const struct outbox_option *option);
