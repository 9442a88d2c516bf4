/* SPDX-License-Identifier: Apache-2.0 */
#include "reply.h"

#include "common/json.h"

#include <outbox/helpers.h>

#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 16

static const struct {
    const char *name;
    uint32_t verdict;
} statuses[] = {{"ok", OUTBOX_ACCEPTED},
                {"retry", OUTBOX_RETRY},
                {"later", OUTBOX_LATER},
                {"reject", OUTBOX_REJECTED},
                {"unavailable", OUTBOX_UNAVAILABLE}};

static bool text_of(struct json_object *object, const char *name, struct outbox_str *ret)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value) ||
        !json_object_is_type(value, json_type_string))
        return false;
    *ret = (struct outbox_str){json_object_get_string(value),
                               (uint64_t)json_object_get_string_len(value)};
    return true;
}

const char *reply_parse(const char *line, size_t n, struct reply *ret)
{
    struct outbox_str status;
    struct json_object *after;
    memset(ret, 0, sizeof *ret);
    if (n > REPLY_MAX)
        return "a reply is longer than 64 KiB";
    ret->owner = json_read_object(line, n, DEPTH_MAX);
    if (!ret->owner)
        return "a reply is not a JSON object";
    if (!text_of(ret->owner, "id", &ret->id))
        return "a reply has no `id`";
    if (!text_of(ret->owner, "status", &status))
        return "a reply has no `status`";
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (outbox_str_eq(status, outbox_cstr(statuses[i].name)))
            ret->verdict = statuses[i].verdict;
    if (ret->verdict == OUTBOX_UNSET)
        return "a reply's `status` is none of ok, retry, later, reject and unavailable";
    text_of(ret->owner, "reason", &ret->reason);
    if (json_object_object_get_ex(ret->owner, "after_ms", &after)) {
        int64_t ms = json_object_get_int64(after);
        ret->after_ms = ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    }
    return NULL;
}

void reply_free(struct reply *reply)
{
    json_object_put(reply->owner);
    reply->owner = NULL;
}
