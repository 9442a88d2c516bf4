/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/predecessor.h"

#include "common/message_json.h"
#include "policy/relay_state.h"
#include "relay/relay.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A successor that runs for so long has seen to what was before it. */
#define SETTLED_US (INT64_C(600) * 1000000)

/* Where and what a process is: pids are given again, a start time of one boot is not. */
struct process {
    char host[256];
    char boot[40];
    int64_t pid;
    int64_t start; /* clock ticks since the boot */
};

/* proc(5): field 22; the second may hold anything in parentheses. 0: there is none. */
static int64_t start_of(int64_t pid)
{
    char path[40], text[1024];
    unsigned long long start = 0;
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
    if (p)
        start = strtoull(p + 1, NULL, 10);
    return (int64_t)start;
}

static void read_boot(char *out, size_t cap)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    out[0] = '\0';
    if (f && !fgets(out, (int)cap, f))
        out[0] = '\0';
    if (f)
        fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

static void read_self(struct process *p)
{
    memset(p, 0, sizeof *p);
    if (gethostname(p->host, sizeof p->host - 1) < 0)
        p->host[0] = '\0';
    read_boot(p->boot, sizeof p->boot);
    p->pid = getpid();
    p->start = start_of(p->pid);
}

int predecessor_add_self(struct json_object *state)
{
    struct process self;
    struct json_object *object = json_object_new_object();
    read_self(&self);
    if (!object)
        return -1;
    if (json_add_text(object, "host", outbox_cstr(self.host)) < 0 ||
        json_add_text(object, "boot", outbox_cstr(self.boot)) < 0 ||
        json_add_int(object, "pid", self.pid) < 0 ||
        json_add_int(object, "start", self.start) < 0) {
        json_object_put(object);
        return -1;
    }
    return json_object_object_add(state, "process", object);
}

static const char *text_of(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

static int64_t number_of(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
}

/* Is it known to be gone? What ran on another host can only be waited for. */
static bool has_ended(struct json_object *process)
{
    struct process self;
    read_self(&self);
    if (strcmp(text_of(process, "host"), self.host) != 0)
        return false;
    if (strcmp(text_of(process, "boot"), self.boot) != 0)
        return true;
    return start_of(number_of(process, "pid")) != number_of(process, "start");
}

static bool is_dead(const struct outbox_relay_page *page, const struct outbox_relay_row *row)
{
    struct json_object *state, *process = NULL;
    if (page->now_us - row->alive_us > RELAY_LIVE_US)
        return true;
    state = relay_state(row);
    bool dead =
        state && json_object_object_get_ex(state, "process", &process) && has_ended(process);
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
