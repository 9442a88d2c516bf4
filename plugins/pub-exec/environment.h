/* SPDX-License-Identifier: Apache-2.0 */
/* environment.h - the environment of a program: what it gets of ours, and its message. */
#ifndef PUB_EXEC_ENVIRONMENT_H
#define PUB_EXEC_ENVIRONMENT_H

#include "exec.h"

/* Copies what passes from the environment of this process. */
int environment_base(struct exec *x, const struct outbox_cfg *cfg);
/* The environment for a message, in the arena. A *ret_why that is not NULL: the message cannot be
 * given to a program, there is no environment. */
int environment_of(struct exec *x, const struct outbox_message *msg, char ***ret,
                   const char **ret_why);

#endif
