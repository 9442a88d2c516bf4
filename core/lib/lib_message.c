/* SPDX-License-Identifier: Apache-2.0 */
/* lib_message.c - liboutbox: messages are written, and get their ids. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <uuid.h>

OUTBOX_EXPORT const char *outbox_new_id(char ret[OUTBOX_ID_SIZE])
{
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, ret);
    return ret;
}

static int check_messages(const struct outbox_new *const *messages, uint64_t n,
                          struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (messages[i]->size < sizeof *messages[i])
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "message %llu has no size: set .size = sizeof it",
                               (unsigned long long)i);
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_save(struct outbox_store *s, const struct outbox_new *const *messages,
                              uint64_t n, const struct outbox_exec *exec, uint32_t timeout_ms,
                              struct outbox_err *err)
{
    struct outbox_call call = store_call(timeout_ms, -1);
    struct lib_store_instance *instance;
    int r = check_messages(messages, n, err);
    if (r < 0 || n == 0)
        return r;
    if ((r = lib_store_enter(s, &instance, err)) < 0)
        return r;
    r = store_save(&instance->store, messages, n, exec, &call, err);
    lib_store_leave(s, instance);
    return r;
}

/* A message with its id: *ret borrows the rest of it. */
static int identify(const struct outbox_new *message, char id[OUTBOX_ID_SIZE],
                    struct outbox_new *ret, struct outbox_err *err)
{
    *ret = *message;
    ret->size = sizeof *ret;
    if (message->id.n >= OUTBOX_ID_SIZE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "an id of %llu bytes is longer than a UUID",
                           (unsigned long long)message->id.n);
    if (message->id.n > 0) {
        memcpy(id, message->id.p, (size_t)message->id.n);
        id[message->id.n] = '\0';
    } else {
        outbox_new_id(id);
    }
    ret->id = outbox_cstr(id);
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_save_ids(struct outbox_store *s, const struct outbox_new *const *messages,
                                  uint64_t n, const struct outbox_exec *exec, uint32_t timeout_ms,
                                  char (*ret_ids)[OUTBOX_ID_SIZE], struct outbox_err *err)
{
    int r = check_messages(messages, n, err);
    struct outbox_new *copies = calloc(n + 1, sizeof *copies);
    const struct outbox_new **ptrs = calloc(n + 1, sizeof(const struct outbox_new *));
    if (!copies || !ptrs)
        r = lib_out_of_memory(err);
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = identify(messages[i], ret_ids[i], &copies[i], err);
        ptrs[i] = &copies[i];
    }
    if (r == 0)
        r = outbox_save(s, ptrs, n, exec, timeout_ms, err);
    free(copies);
    free(ptrs);
    return r;
}

OUTBOX_EXPORT int outbox_save_one(struct outbox_store *s, const struct outbox_new *message,
                                  const struct outbox_exec *exec, uint32_t timeout_ms,
                                  char ret_id[OUTBOX_ID_SIZE], struct outbox_err *err)
{
    const struct outbox_new *const messages[] = {message};
    char id[1][OUTBOX_ID_SIZE];
    if (!ret_id)
        return outbox_save(s, messages, 1, exec, timeout_ms, err);
    int r = outbox_save_ids(s, messages, 1, exec, timeout_ms, id, err);
    if (r == 0)
        memcpy(ret_id, id[0], sizeof id[0]);
    return r;
}
