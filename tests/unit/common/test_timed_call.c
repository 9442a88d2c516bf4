/* SPDX-License-Identifier: Apache-2.0 */
/* Calls without a deadline get one, and nobody frees what the other still uses. */
#include "common/timed_call.h"
#include "unit.h"

#include <outbox/abi.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct errand {
    int gate; /* work waits until it is readable */
    _Atomic int worked;
    _Atomic int *dropped;
};

static void work(void *arg)
{
    struct errand *errand = arg;
    struct pollfd gate = {.fd = errand->gate, .events = POLLIN};
    if (errand->gate >= 0)
        poll(&gate, 1, -1);
    errand->worked = 1;
}

static void drop(void *arg)
{
    struct errand *errand = arg;
    _Atomic int *dropped = errand->dropped;
    free(errand);
    *dropped = 1;
}

static struct errand *new_errand(int gate, _Atomic int *dropped)
{
    struct errand *errand = calloc(1, sizeof *errand);
    ck_assert_ptr_nonnull(errand);
    errand->gate = gate;
    errand->dropped = dropped;
    return errand;
}

static void open_gate(int gate)
{
    uint64_t one = 1;
    ck_assert_int_eq(write(gate, &one, sizeof one), sizeof one);
}

START_TEST(what_ends_in_time_is_the_callers_again)
{
    struct timed_call *call = timed_call_new();
    _Atomic int dropped = 0;
    struct errand *errand = new_errand(-1, &dropped);
    for (int i = 0; i < 100; i++) {
        errand->worked = 0;
        ck_assert_int_eq(timed_call_run(call, work, drop, errand, 30000, -1), OUTBOX_OK);
        ck_assert_int_eq(errand->worked, 1);
    }
    ck_assert_int_eq(dropped, 0);
    free(errand);
    timed_call_free(call);
}
END_TEST

START_TEST(what_hangs_is_abandoned_and_cleans_up_by_itself)
{
    struct timed_call *call = timed_call_new();
    int gate = eventfd(0, EFD_CLOEXEC);
    _Atomic int dropped = 0;
    struct errand *other = new_errand(-1, &dropped);
    ck_assert_int_eq(timed_call_run(call, work, drop, new_errand(gate, &dropped), 30, -1),
                     OUTBOX_E_TIMEOUT);
    /* No second one while the first is under way. */
    ck_assert_int_eq(timed_call_run(call, work, drop, other, 30000, -1), OUTBOX_E_BROKEN);
    ck_assert_int_eq(dropped, 0);
    open_gate(gate);
    int r;
    while ((r = timed_call_run(call, work, drop, other, 30000, -1)) == OUTBOX_E_BROKEN)
        poll(NULL, 0, 1);
    ck_assert_int_eq(r, OUTBOX_OK);
    ck_assert_int_eq(dropped, 1);
    free(other);
    timed_call_free(call);
    close(gate);
}
END_TEST

START_TEST(the_owner_may_go_first)
{
    struct timed_call *call = timed_call_new();
    int gate = eventfd(0, EFD_CLOEXEC), cancel = eventfd(1, EFD_CLOEXEC);
    _Atomic int dropped = 0;
    ck_assert_int_eq(timed_call_run(call, work, drop, new_errand(gate, &dropped), 30000, cancel),
                     OUTBOX_E_CANCELLED);
    timed_call_free(call);
    open_gate(gate);
    while (!dropped)
        poll(NULL, 0, 1);
    close(gate);
    close(cancel);
}
END_TEST

START_TEST(what_ends_soon_is_waited_for_when_it_is_freed)
{
    struct timed_call *call = timed_call_new();
    int gate = eventfd(0, EFD_CLOEXEC), cancel = eventfd(1, EFD_CLOEXEC);
    _Atomic int dropped = 0;
    ck_assert_int_eq(timed_call_run(call, work, drop, new_errand(gate, &dropped), 30000, cancel),
                     OUTBOX_E_CANCELLED);
    open_gate(gate);
    timed_call_free(call);
    ck_assert_int_eq(dropped, 1);
    close(gate);
    close(cancel);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timed_call");
    TCase *tc = tcase_create("timed_call");
    tcase_add_test(tc, what_ends_in_time_is_the_callers_again);
    tcase_add_test(tc, what_hangs_is_abandoned_and_cleans_up_by_itself);
    tcase_add_test(tc, the_owner_may_go_first);
    tcase_add_test(tc, what_ends_soon_is_waited_for_when_it_is_freed);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
