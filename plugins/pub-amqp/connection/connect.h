/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUB_AMQP_CONNECTION_CONNECT_H
#define PUB_AMQP_CONNECTION_CONNECT_H

/* Connects to the host of a struct attempt, with TLS if its url says so, and logs in. Blocks. */
void connect_run(void *attempt);

#endif
