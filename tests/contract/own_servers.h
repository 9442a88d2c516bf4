/* SPDX-License-Identifier: Apache-2.0 */
/* own_servers.h - servers that a program stops and kills without harm to what runs beside it. */
#pragma once

/* Starts one in a folder of this program's, which it is removed with at the end of the program, and
 * sets the variables of scripts/services.sh to it. */
void own_servers_start(const char *service);
/* Runs scripts/services.sh with them. Fails the program, not a case. */
void own_servers(const char *command, const char *service);
