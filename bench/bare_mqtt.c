/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_mqtt.c - the limit of pub-mqtt: one thread and one connection of libmosquitto publish with
 * QoS 1 and count the acknowledgements, and do nothing else. Prints messages a second.
 * bare_mqtt HOST PORT MESSAGES SIZE [WINDOW]
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int connected;
static long answered;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void check(int code)
{
    if (code == MOSQ_ERR_SUCCESS)
        return;
    fprintf(stderr, "bare_mqtt: %s\n", mosquitto_strerror(code));
    exit(1);
}

static void on_connect(struct mosquitto *m, void *obj, int code, int flags,
                       const mosquitto_property *props)
{
    (void)m;
    (void)obj;
    (void)flags;
    (void)props;
    check(code == 0 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_CONN_REFUSED);
    connected = 1;
}

static void on_answer(struct mosquitto *m, void *obj, int mid, int code,
                      const mosquitto_property *props)
{
    (void)m;
    (void)obj;
    (void)mid;
    (void)props;
    check(code < 128 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_UNKNOWN);
    answered++;
}

static void publish(struct mosquitto *m, long number, const char *payload, int size)
{
    mosquitto_property *props = NULL;
    char id[40];
    snprintf(id, sizeof id, "%036ld", number);
    check(mosquitto_property_add_string_pair(&props, MQTT_PROP_USER_PROPERTY, "message-id", id));
    check(mosquitto_publish_v5(m, NULL, "bench", size, payload, 1, false, props));
    mosquitto_property_free_all(&props);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    long messages = strtol(argv[3], NULL, 10), sent = 0;
    int size = (int)strtol(argv[4], NULL, 10);
    long window = argc > 5 ? strtol(argv[5], NULL, 10) : 1000;
    char *payload = malloc((size_t)size + 1);
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new(NULL, true, NULL);
    if (!m || !payload)
        return 1;
    memset(payload, 'x', (size_t)size);
    mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_int_option(m, MOSQ_OPT_SEND_MAXIMUM, (int)window);
    mosquitto_int_option(m, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_connect_v5_callback_set(m, on_connect);
    mosquitto_publish_v5_callback_set(m, on_answer);
    check(mosquitto_connect(m, argv[1], (int)strtol(argv[2], NULL, 10), 60));
    while (!connected)
        check(mosquitto_loop(m, 100, 1));
    double began = now();
    while (answered < messages) {
        while (sent < messages && sent - answered < window)
            publish(m, sent++, payload, size);
        check(mosquitto_loop(m, 100, 1));
    }
    printf("%.0f\n", (double)messages / (now() - began));
    mosquitto_disconnect(m);
    mosquitto_destroy(m);
    mosquitto_lib_cleanup();
    free(payload);
    return 0;
}
