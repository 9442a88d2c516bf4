/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abandoned.h - programs that did not die when they were killed: run by another user (setuid), or
 * stuck in the kernel. They are waited for no longer, and reaped when they end after all. As long
 * as there are as many of them as may run at a time, no further one is started.
 */
#pragma once

#include "child.h"

/* Lets go of a program that was killed in vain, and logs it. */
void abandoned_add(struct exec *x, struct child *child);
/* Reaps those that have ended. May another one be started? If not, *ret_why says why not. */
bool abandoned_allow(struct exec *x, const char **ret_why);
