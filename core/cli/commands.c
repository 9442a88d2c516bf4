/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

const struct command *const commands[] = {
    &cmd_run,     &cmd_reload,  &cmd_check, &cmd_init,   &cmd_send,  &cmd_list,    &cmd_show,
    &cmd_requeue, &cmd_discard, &cmd_purge, &cmd_status, &cmd_route, &cmd_plugins, NULL,
};
