/* SPDX-License-Identifier: Apache-2.0 */
/* embedded.c - runs a relay in this process, to a function that accepts all messages.
 * embedded DB PLUGIN_DIR N */
#include <outbox/outbox.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int take(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                struct outbox_err *err)
{
    (void)ctx;
    (void)messages;
    (void)call;
    (void)err;
    for (uint64_t i = 0; i < n; i++)
        outcomes[i]->verdict = OUTBOX_ACCEPTED;
    return OUTBOX_OK;
}

int main(int argc, char **argv)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_relay_options options = {
        .size = sizeof options, .workers = 1, .retention_ms = OUTBOX_RETENTION_DELETE};
    struct outbox_router *router = outbox_router_new();
    struct outbox_relay *relay = NULL;
    if (argc != 4)
        return 2;
    const struct outbox_setting store[] = {{"path", argv[1]}, {NULL, NULL}};
    if (!router || outbox_router_set_fallback(router, "here") < 0 ||
        outbox_relay_new(&options, &relay, &err) < 0 ||
        outbox_relay_set_store(relay, argv[2], "sqlite", store, &err) < 0 ||
        outbox_relay_add_function(relay, "here", take, NULL, &err) < 0 ||
        outbox_relay_set_router(relay, router, &err) < 0 || outbox_relay_start(relay, &err) < 0) {
        fprintf(stderr, "embedded: %s\n", err.text);
        return 1;
    }
    for (unsigned long long n = strtoull(argv[3], NULL, 10); counts.accepted < n;) {
        usleep(2000);
        outbox_relay_count(relay, &counts);
    }
    outbox_relay_free(relay);
    outbox_router_free(router);
    printf("%llu\n", (unsigned long long)counts.accepted);
    return 0;
}
