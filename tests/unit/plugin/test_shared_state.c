/* SPDX-License-Identifier: Apache-2.0 */
/* What a section's instances share: opened with the first of them, closed after the last. */
#include "plugin/publisher.h"
#include "plugin/shared_state.h"
#include "plugin/store.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

static struct {
    char events[64]; /* S, s: shared_open, shared_close; O, c: open, close; F, f: they failed */
    bool shared_fails, open_fails;
    int n_states; /* each shared_open makes another one */
    char states[8];
    const void *seen; /* host->shared of the instance that was opened last */
    char label[64];   /* the host's name for it at shared_open */
    int check_r;
} fake;

static void happened(char event)
{
    fake.events[strlen(fake.events)] = event;
}

static int shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    (void)cfg;
    if (fake.shared_fails) {
        happened('F');
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is no such client");
    }
    happened('S');
    snprintf(fake.label, sizeof fake.label, "%s", host->instance);
    *ret = &fake.states[fake.n_states++];
    return OUTBOX_OK;
}

static void shared_close(void *shared)
{
    ck_assert_ptr_nonnull(shared);
    happened('s');
}

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)cfg;
    if (fake.open_fails) {
        happened('f');
        return outbox_fail(err, OUTBOX_E_RETRY, "no memory");
    }
    happened('O');
    fake.seen = host->shared;
    *ret = &fake;
    return OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
    happened('c');
}

static int check(void *self, const struct outbox_call *call, struct outbox_err *err)
{
    (void)self;
    (void)call;
    return fake.check_r < 0 ? outbox_fail(err, fake.check_r, "told to fail") : OUTBOX_OK;
}

static const struct plugin plugin = {
    .desc = {.kind = OUTBOX_KIND_PUBLISHER,
             .name = "fake",
             .shared_open = shared_open,
             .shared_close = shared_close},
    .ops.publisher = {.open = open_fake, .close = close_fake, .check = check},
};
static struct shared_state *mail, *audit;
static struct publisher publishers[3];
static struct outbox_err err;

static void set_up(void)
{
    memset(&fake, 0, sizeof fake);
    err = (struct outbox_err){.size = sizeof err};
    mail = shared_state_new();
    audit = shared_state_new();
}

static void tear_down(void)
{
    for (size_t i = 0; i < 3; i++)
        publisher_close(&publishers[i]);
    shared_state_free(mail);
    shared_state_free(audit);
}

static int open_one(size_t i, struct shared_state *shared)
{
    const struct instance_setup setup = {.plugin = &plugin, .shared = shared};
    return publisher_open(&publishers[i], &setup, shared == audit ? "audit" : "mail", &err);
}

START_TEST(the_first_opens_it_and_the_last_closes_it)
{
    ck_assert_int_eq(open_one(0, mail), 0);
    ck_assert_str_eq(fake.label, "publisher mail");
    ck_assert_int_eq(open_one(1, mail), 0);
    ck_assert_ptr_eq(fake.seen, &fake.states[0]);
    publisher_close(&publishers[0]);
    publisher_close(&publishers[1]);
    ck_assert_str_eq(fake.events, "SOOccs");
    ck_assert_int_eq(open_one(0, mail), 0);
    ck_assert_ptr_eq(fake.seen, &fake.states[1]);
}
END_TEST

START_TEST(each_section_has_its_own)
{
    ck_assert_int_eq(open_one(0, mail), 0);
    ck_assert_int_eq(open_one(1, audit), 0);
    ck_assert_ptr_eq(fake.seen, &fake.states[1]);
    ck_assert_str_eq(fake.label, "publisher audit");
    publisher_close(&publishers[0]);
    ck_assert_str_eq(fake.events, "SOSOcs");
}
END_TEST

START_TEST(one_instance_alone_has_one_for_itself)
{
    ck_assert_int_eq(open_one(0, NULL), 0);
    ck_assert_int_eq(open_one(1, NULL), 0);
    ck_assert_ptr_eq(fake.seen, &fake.states[1]);
    publisher_close(&publishers[0]);
    ck_assert_str_eq(fake.events, "SOSOcs");
}
END_TEST

START_TEST(its_failure_is_that_of_the_instance_and_leaves_nothing)
{
    fake.shared_fails = true;
    ck_assert_int_eq(open_one(0, mail), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, "publisher mail: there is no such client");
    publisher_close(&publishers[0]);
    fake.shared_fails = false;
    fake.open_fails = true;
    ck_assert_int_eq(open_one(0, mail), OUTBOX_E_RETRY);
    publisher_close(&publishers[0]);
    ck_assert_str_eq(fake.events, "FSfs");
    fake.open_fails = false;
    ck_assert_int_eq(open_one(0, mail), 0);
    ck_assert_str_eq(fake.events, "FSfsSO");
}
END_TEST

START_TEST(an_instance_that_broke_leaves_it_to_the_others)
{
    struct outbox_call call = store_call(1000, -1);
    ck_assert_int_eq(open_one(0, mail), 0);
    ck_assert_int_eq(open_one(1, mail), 0);
    fake.check_r = OUTBOX_E_BROKEN;
    ck_assert_int_eq(publisher_check(&publishers[0], &call, &err), OUTBOX_E_BROKEN);
    fake.check_r = OUTBOX_OK;
    ck_assert_int_eq(publisher_check(&publishers[0], &call, &err), OUTBOX_OK);
    ck_assert_str_eq(fake.events, "SOOcO");
    ck_assert_ptr_eq(fake.seen, &fake.states[0]);
}
END_TEST

START_TEST(when_the_only_instance_broke_it_is_made_anew)
{
    struct outbox_call call = store_call(1000, -1);
    ck_assert_int_eq(open_one(0, mail), 0);
    fake.check_r = OUTBOX_E_BROKEN;
    ck_assert_int_eq(publisher_check(&publishers[0], &call, &err), OUTBOX_E_BROKEN);
    fake.check_r = OUTBOX_OK;
    ck_assert_int_eq(publisher_check(&publishers[0], &call, &err), OUTBOX_OK);
    ck_assert_str_eq(fake.events, "SOcsSO");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shared_state");
    TCase *tc = tcase_create("shared_state");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, the_first_opens_it_and_the_last_closes_it);
    tcase_add_test(tc, each_section_has_its_own);
    tcase_add_test(tc, one_instance_alone_has_one_for_itself);
    tcase_add_test(tc, its_failure_is_that_of_the_instance_and_leaves_nothing);
    tcase_add_test(tc, an_instance_that_broke_leaves_it_to_the_others);
    tcase_add_test(tc, when_the_only_instance_broke_it_is_made_anew);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
