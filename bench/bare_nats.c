/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_nats.c - measures the limit of the library and the server: a bare loop of libnats publishes
 * to a stream of JetStream with an id and asynchronous acknowledgements. Prints messages a second.
 * bare_nats HOST PORT MESSAGES SIZE [WINDOW]; NATS_USER, NATS_PASSWORD, NATS_SUBJECT (out.bench)
 */
#include <nats/nats.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void check(natsStatus s)
{
    if (s == NATS_OK)
        return;
    fprintf(stderr, "bare_nats: %s\n", nats_GetLastError(NULL));
    exit(1);
}

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static void on_error(jsCtx *js, jsPubAckErr *e, void *closure)
{
    (void)js;
    (void)closure;
    fprintf(stderr, "bare_nats: %s\n", e->ErrText);
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "bare_nats HOST PORT MESSAGES SIZE [WINDOW]\n");
        return 2;
    }
    uint64_t n = strtoull(argv[3], NULL, 10);
    int size = (int)strtoul(argv[4], NULL, 10);
    const char *subject = setting("NATS_SUBJECT", "out.bench");
    char url[300], id[40], *payload = calloc(1, (size_t)size + 1);
    natsOptions *opts = NULL;
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    jsOptions js_opts;
    if (!payload)
        return 1;
    memset(payload, 'x', (size_t)size);
    snprintf(url, sizeof url, "nats://%s:%s", argv[1], argv[2]);
    check(natsOptions_Create(&opts));
    check(natsOptions_SetURL(opts, url));
    check(natsOptions_SetUserInfo(opts, setting("NATS_USER", "relay"),
                                  setting("NATS_PASSWORD", "relay-passw0rd")));
    check(natsConnection_Connect(&nc, opts));
    check(jsOptions_Init(&js_opts));
    js_opts.PublishAsync.MaxPending = argc > 5 ? strtoll(argv[5], NULL, 10) : 1000;
    js_opts.PublishAsync.StallWait = 60000;
    js_opts.PublishAsync.ErrHandler = on_error;
    check(natsConnection_JetStream(&js, nc, &js_opts));
    srand((unsigned)time(NULL));
    unsigned run = (unsigned)rand();
    double began = now();
    for (uint64_t i = 0; i < n; i++) {
        natsMsg *msg = NULL;
        snprintf(id, sizeof id, "%08x-%027llu", run, (unsigned long long)i);
        check(natsMsg_Create(&msg, subject, NULL, payload, size));
        check(natsMsgHeader_Set(msg, "Nats-Msg-Id", id));
        check(js_PublishMsgAsync(js, &msg, NULL));
    }
    check(js_PublishAsyncComplete(js, NULL));
    printf("%.0f\n", (double)n / (now() - began));
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    natsOptions_Destroy(opts);
    free(payload);
    return 0;
}
