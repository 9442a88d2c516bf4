/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/course.h"

#include "conform/kit.h"
#include "conform/publish.h"

void course_rule(struct course *c, const struct instance_setup *setup)
{
    struct instance instance;
    struct outbox_err err = {.size = sizeof err};
    struct batch *b = batch_new(50);
    course_enter(c, "open", CHECKED_OPEN_MS);
    int r = instance_open(&instance, setup, &err);
    course_leave(c);
    if (r < 0) {
        course_trouble(c, "open returned %d: %s", r, err.text);
        return;
    }
    for (uint64_t i = 0; i < b->n; i++) {
        struct outbox_decision decision = {.size = sizeof decision};
        batch_set_id(b, i, (uint32_t)c->round);
        if (i % 2)
            b->msgs[i].key = batch_copy(b, "key", 3);
        if (i % 5 == 0)
            b->msgs[i].payload = (struct outbox_str){NULL, 0};
        course_enter(c, "route", CHECKED_LATE_MS);
        r = instance.plugin->ops.rule.route(instance.self, &b->msgs[i], &decision, &err);
        course_leave(c);
        c->worked += r == OUTBOX_OK;
        if (r != OUTBOX_OK)
            course_trouble(c, "route returned %d: %s", r, err.text);
    }
    course_enter(c, "close", OUTBOX_CLOSE_MS);
    instance_close(&instance);
    course_leave(c);
    batch_free(b);
}
