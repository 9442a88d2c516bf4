/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Connects to the host of a struct attempt, with TLS if its url says so, and logs in. Blocks. */
void connect_run(void *attempt);
