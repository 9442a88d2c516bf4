/* SPDX-License-Identifier: Apache-2.0 */
#include "common/message_json.h"
#include "policy/relay_state.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A successor that has run for so long has published what its predecessor held. */
#define SETTLED_US (INT64_C(600) * 1000000)

/* proc(5): field 22; the second may hold anything in parentheses. 0: there is none. */
static int64_t start_of(int64_t pid)
{
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoll(p + 1, NULL, 10) : 0;
}

/* Names this boot of this machine. Empty: unknown. */
static void read_boot(char *out, size_t cap)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!f || !fgets(out, (int)cap, f))
        out[0] = '\0';
    if (f)
        fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

/* Pids are given again; together with boot and start time they are unique. */
int predecessor_add_self(struct json_object *state)
{
    struct json_object *process = relay_state_add(state, "process");
    char host[256] = "", boot[40];
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    read_boot(boot, sizeof boot);
    if (process && json_add_text(process, "host", outbox_cstr(host)) == 0 &&
        json_add_text(process, "boot", outbox_cstr(boot)) == 0 &&
        json_add_int(process, "pid", getpid()) == 0 &&
        json_add_int(process, "start", start_of(getpid())) == 0)
        return OUTBOX_OK;
    return OUTBOX_E_RETRY;
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

static bool is_same(struct json_object *a, struct json_object *b, const char *name)
{
    return member(a, name) && json_object_equal(member(a, name), member(b, name));
}

/* Is it known to be gone? For a process of another host only its row can tell. */
static bool has_ended(struct json_object *process)
{
    struct json_object *state = json_object_new_object();
    bool known = predecessor_add_self(state) == OUTBOX_OK;
    bool here = known && is_same(member(state, "process"), process, "host");
    bool same_boot = known && is_same(member(state, "process"), process, "boot");
    json_object_put(state);
    if (!here || !same_boot)
        return here;
    return start_of(json_object_get_int64(member(process, "pid"))) !=
           json_object_get_int64(member(process, "start"));
}

static bool is_dead(const struct outbox_relay_page *page, const struct outbox_relay_row *row)
{
    if (page->now_us - row->alive_us > RELAY_LIVE_US)
        return true;
    struct json_object *state = relay_state(row);
    bool dead = member(state, "process") && has_ended(member(state, "process"));
    json_object_put(state);
    return dead;
}

bool predecessor_is(const struct outbox_relay_page *page, const struct outbox_relay_row *row,
                    const char *name, const char *self)
{
    if (row->clean || outbox_str_eq(row->id, outbox_cstr(self)) ||
        !outbox_str_eq(row->name, outbox_cstr(name)) || !is_dead(page, row))
        return false;
    for (uint32_t i = 0; i < page->n; i++) {
        const struct outbox_relay_row *other = page->rows[i];
        if (outbox_str_eq(other->id, outbox_cstr(self)) || !outbox_str_eq(other->name, row->name) ||
            other->started_us <= row->alive_us)
            continue;
        if (other->clean || page->now_us - other->started_us > SETTLED_US || is_dead(page, other))
            return false;
    }
    return true;
}
