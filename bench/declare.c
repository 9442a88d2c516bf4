/* SPDX-License-Identifier: Apache-2.0 */
/* declare.c - declares a durable queue and empties it. declare AMQP-URL QUEUE classic|quorum */
#include "broker.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "declare AMQP-URL QUEUE classic|quorum\n");
        return 2;
    }
    broker_declare(argv[1], argv[2], argv[3]);
    return 0;
}
