/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - measures the limit of the broker: a bare loop of librabbitmq publishes persistent,
 * mandatory messages of 256 bytes with a window of confirms. publish AMQP-URL QUEUE MESSAGES WINDOW
 */
#include "broker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    char payload[256], id[40];
    if (argc < 5) {
        fprintf(stderr, "publish AMQP-URL QUEUE MESSAGES WINDOW\n");
        return 2;
    }
    uint64_t n = strtoull(argv[3], NULL, 10), window = strtoull(argv[4], NULL, 10), confirmed = 0;
    memset(payload, 'x', sizeof payload);
    amqp_connection_state_t c = broker_connect(argv[1]);
    double began = now();
    for (uint64_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%036" PRIu64, i);
        broker_publish(c, argv[2], id, payload, sizeof payload);
        broker_confirm(c, i + 1, &confirmed, window);
    }
    broker_confirm(c, n, &confirmed, 1);
    double seconds = now() - began;
    printf("%.0f %.2f\n", (double)n / seconds, cpu() / (double)n * 1e6);
    amqp_destroy_connection(c);
    return 0;
}
