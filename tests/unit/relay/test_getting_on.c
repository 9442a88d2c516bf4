/* SPDX-License-Identifier: Apache-2.0 */
/* Who is alive and who hangs, for the service manager's watchdog. */
#include "base/clock.h"
#include "plugin/instance.h"
#include "relay/worker.h"
#include "unit.h"

#include <string.h>

#define SECOND INT64_C(1000000)
#define SLACK (10 * SECOND)
#define HOUR (3600 * SECOND)

static struct config config = {.workers = 2};
static struct worker workers[2];
static struct relay relay = {.config = &config, .workers = workers, .hold_ms = 31000};
static struct plugin plugin = {.desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "x"}};
static struct instance instance = {.plugin = &plugin, .label = "publisher mail"};
static char why[300];

static void set_up(void)
{
    for (size_t i = 0; i < 2; i++) {
        workers[i] = (struct worker){.relay = &relay};
        activity_init(&workers[i].activity);
        current_call_init(&workers[i].call);
    }
    current_call_init(&relay.janitor_call);
    current_call_init(&relay.watcher_call);
    why[0] = '\0';
}

static void tear_down(void)
{
    for (size_t i = 0; i < 2; i++) {
        activity_destroy(&workers[i].activity);
        current_call_destroy(&workers[i].call);
    }
    current_call_destroy(&relay.janitor_call);
    current_call_destroy(&relay.watcher_call);
}

static bool gets_on(void)
{
    return relay_gets_on(&relay, SLACK, why, sizeof why);
}

/* It has been in a call that was to end so long ago. */
static void be_in_call(struct current_call *call, int64_t late_us)
{
    call->instance = &instance;
    call->operation = "publish";
    call->due_us = clock_monotonic_us() - late_us;
    call->moved_us = call->due_us - HOUR;
}

static void be_still(struct current_call *call, int64_t us)
{
    call->instance = NULL;
    call->moved_us = clock_monotonic_us() - us;
}

START_TEST(who_waits_for_messages_is_alive_for_ever)
{
    be_still(&workers[0].call, HOUR);
    be_still(&workers[1].call, HOUR);
    be_still(&relay.watcher_call, HOUR);
    ck_assert(gets_on());
}
END_TEST

START_TEST(a_call_has_its_time_and_the_slack)
{
    be_in_call(&workers[1].call, -HOUR);
    ck_assert(gets_on());
    be_in_call(&workers[1].call, SLACK - SECOND);
    ck_assert(gets_on());
    be_in_call(&workers[1].call, SLACK + SECOND);
    ck_assert(!gets_on());
    ck_assert_str_eq(why, "worker 2 is in `publish` of publisher mail, pub-x, for 11 s longer than "
                          "its time-out");
    workers[1].ended = true;
    ck_assert(gets_on());
}
END_TEST

START_TEST(the_janitor_and_the_watcher_must_come_back_too)
{
    be_in_call(&relay.janitor_call, SLACK + SECOND);
    ck_assert(!gets_on());
    ck_assert_int_eq(strncmp(why, "the janitor is in `publish`", 27), 0);
    be_still(&relay.janitor_call, 0);
    be_in_call(&relay.watcher_call, SLACK + SECOND);
    ck_assert(!gets_on());
    ck_assert_int_eq(strncmp(why, "the watcher is in `publish`", 27), 0);
}
END_TEST

START_TEST(who_has_to_do_something_must_call_something)
{
    be_still(&relay.janitor_call, 60 * SECOND);
    ck_assert(gets_on());
    be_still(&relay.janitor_call, 60 * SECOND + SLACK + SECOND);
    ck_assert(!gets_on());
    ck_assert_str_eq(why, "the janitor has not got on for 71 s");
    be_still(&relay.janitor_call, 0);
    /* A worker may have its batch, or its publisher's longest pause, to wait for. */
    activity_begin(&workers[0].activity, ACTIVITY_PUBLISHING, 0);
    be_still(&workers[0].call, 330 * SECOND);
    ck_assert(gets_on());
    be_still(&workers[0].call, 331 * SECOND + SLACK + SECOND);
    ck_assert(!gets_on());
    ck_assert_str_eq(why, "worker 1 has not got on for 342 s");
    current_call_adopt(&workers[0].call, true); /* the thread begins */
    ck_assert(gets_on());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("getting_on");
    TCase *tc = tcase_create("getting_on");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, who_waits_for_messages_is_alive_for_ever);
    tcase_add_test(tc, a_call_has_its_time_and_the_slack);
    tcase_add_test(tc, the_janitor_and_the_watcher_must_come_back_too);
    tcase_add_test(tc, who_has_to_do_something_must_call_something);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
