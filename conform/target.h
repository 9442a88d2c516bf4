/* SPDX-License-Identifier: Apache-2.0 */
/* target.h - the plugin that outbox-conform tests, as the process of a test sees it. */
#pragma once

#include "conform/setup.h"

struct log;

/* What all tests are about; `setup` as read without the plugin. */
void target_use(const struct setup *setup, const char *file);
/* What was read without the plugin. */
const struct setup *target_outside(void);

/* Loads the plugin into this process, at the first call. Ends the test when it cannot. */
struct setup *target(void);
/* The INI read anew, so that its options can be changed; the caller forgets it. */
struct setup *target_again(void);
struct outbox_cfg *target_options(struct setup *s);

/* A log that is shown when the test fails. */
struct log *target_log(void);
/* Do the author's commands give what the test needs? Ends it if not. */
const char *target_needs(const char *command, const char *what);
