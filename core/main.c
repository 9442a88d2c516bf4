/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - outboxd: picks the subcommand. */
#include "command.h"

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return EXIT_USAGE;
}
