/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/publisher_contract.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

START_TEST(opening_and_closing_does_nothing)
{
    int fds = 0;
    for (int i = 0; i < 3; i++) {
        close_publisher(a_publisher(NULL));
        fds = i == 0 ? count_fds() : fds;
    }
    ck_assert_int_eq(count_fds(), fds);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

START_TEST(it_is_opened_and_closed_100_times)
{
    int64_t end = now_ms() + 5000; /* how long that may take is another test's */
    for (int i = 0; i < 100 && now_ms() < end; i++)
        close_publisher(a_publisher(NULL));
}
END_TEST

START_TEST(closing_nothing_is_allowed)
{
    struct instance *instance = a_publisher(NULL);
    instance->plugin->ops.publisher.close(NULL);
    close_publisher(instance);
}
END_TEST

START_TEST(check_says_that_it_can_publish)
{
    struct instance *instance = a_publisher(NULL);
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_call call = {
        sizeof call, publisher_kind()->publish_ms ? publisher_kind()->publish_ms : 60000, -1, 0};
    int r = instance->plugin->ops.publisher.check(instance->self, &call, &err);
    ck_assert_msg(r == OUTBOX_OK, "check returned %d: %s", r, err.text);
    close_publisher(instance);
}
END_TEST

static void assert_accepted(const struct batch *b, int r)
{
    uint64_t other;
    batch_accepted(b, &other);
    ck_assert_msg(other == b->n, "publish returned %d, and %s", r, batch_tell(b, other));
    ck_assert_msg(r == OUTBOX_OK, "publish returned %d (%s), and all messages are accepted", r,
                  b->err.text);
}

/* Once each; a slow one may have left some unset, whose fate it does not know: they may be twice.
 */
static void assert_arrived(const struct batch *b)
{
    uint64_t total = 0;
    for (uint64_t i = 0; publisher_kind()->arrived && i < b->n; i++) {
        int n = publisher_kind()->arrived(b->msgs[i].id.p);
        ck_assert_int_ge(n, 1);
        total += (uint64_t)n;
    }
    ck_assert_uint_le(total, b->n + b->n_again);
}

static const int sizes[] = {1, 2, 300};

START_TEST(accepted_messages_have_arrived_once)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", (uint64_t)sizes[_i], "x");
    assert_accepted(b, publish_all(instance, b));
    assert_arrived(b);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

/* Messages that applications write now and then; what each of them is. */
static struct batch *an_unusual_message(int which, const char **ret_what)
{
    static const char *const what[] = {"without a payload (NULL)",
                                       "with an empty payload",
                                       "with a binary payload",
                                       "with a key",
                                       "with UTF-8 in topic, key and payload",
                                       "with 100 headers",
                                       "with an empty header",
                                       "with a payload of 1 MiB",
                                       "with a payload of 60 KiB in a line"};
    struct batch *b = a_batch("u", 1, "x");
    struct outbox_message *m = &b->msgs[0];
    static struct outbox_header headers[100];
    char name[16];
    *ret_what = which < (int)(sizeof what / sizeof what[0]) ? what[which] : NULL;
    size_t n = which == 7 ? 1 << 20 : 60 << 10;
    char *large = mine(malloc(n), free);
    memset(large, 'x', n);
    if (which == 0)
        m->payload = (struct outbox_str){NULL, 0};
    else if (which == 1)
        m->payload = batch_copy(b, "", 0);
    else if (which == 2)
        m->payload = batch_copy(b, "\0\1\xff\n\r\"'\\", 8);
    else if (which == 3)
        m->key = batch_copy(b, "customer-7", 10);
    else if (which == 4)
        m->topic = m->key = m->payload = batch_copy(b, "gr\xc3\xbc\xc3\x9f\x65.\xe2\x82\xac", 11);
    else if (which >= 7)
        m->payload = (struct outbox_str){large, n};
    m->n_headers = which == 5 ? 100 : which == 6 ? 1 : 0;
    m->headers = m->n_headers ? headers : NULL;
    for (uint64_t i = 0; i < m->n_headers; i++) {
        snprintf(name, sizeof name, "name%d", (int)i);
        headers[i] = (struct outbox_header){batch_copy(b, name, strlen(name)),
                                            batch_copy(b, name, which == 5 ? strlen(name) : 0)};
    }
    return b;
}

/* It may refuse one, and says why; but not leave it open, or take it for an outage. */
START_TEST(unusual_messages_have_an_outcome)
{
    struct instance *instance = a_publisher(NULL);
    const char *what;
    for (int i = 0;; i++) {
        struct batch *b = an_unusual_message(i, &what);
        if (!what)
            break;
        int r = publish_all(instance, b);
        const struct outbox_outcome *o = &b->outcomes[0];
        ck_assert_msg(r == OUTBOX_OK && o->verdict != OUTBOX_UNSET &&
                          o->verdict != OUTBOX_UNAVAILABLE,
                      "a message %s: publish returned %d, and %s", what, r, batch_tell(b, 0));
        ck_assert_msg(o->verdict == OUTBOX_ACCEPTED || o->reason.n > 0, "a message %s: %s", what,
                      batch_tell(b, 0));
    }
    close_publisher(instance);
}
END_TEST

START_TEST(keepalive_says_that_it_is_healthy)
{
    struct instance *instance = a_publisher(NULL);
    const struct outbox_publisher_ops *ops = &instance->plugin->ops.publisher;
    if (!ops->capabilities || !(ops->capabilities(instance->self) & OUTBOX_PUB_KEEPALIVE)) {
        close_publisher(instance);
        if (publisher_kind()->module)
            kit_skip("it has no keepalive (OUTBOX_PUB_KEEPALIVE)");
        return;
    }
    ck_assert_ptr_nonnull(ops->keepalive);
    struct batch *b = a_batch("k", 1, "x");
    assert_accepted(b, publish_all(instance, b));
    for (int i = 0; i < 3; i++) {
        struct outbox_keepalive ret = {.size = sizeof ret};
        struct outbox_err err = {.size = sizeof err};
        int r = ops->keepalive(instance->self, &ret, &err);
        ck_assert_msg(r == OUTBOX_OK, "keepalive returned %d: %s", r, err.text);
        ck_assert_msg(ret.verdict == OUTBOX_ACCEPTED, "keepalive: verdict %u: %.*s", ret.verdict,
                      ret.reason.p ? (int)ret.reason.n : 0, ret.reason.p);
        sleep_ms(100);
    }
    close_publisher(instance);
}
END_TEST

START_TEST(it_can_be_called_again_and_leaves_nothing_behind)
{
    struct instance *instance = a_publisher(NULL);
    int fds = 0;
    for (int round = 0; round < 20; round++) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "r%d", round);
        struct batch *b = a_batch(prefix, 3, "x");
        assert_accepted(b, publish_all(instance, b));
        if (round == 0)
            fds = count_fds();
    }
    ck_assert_int_eq(count_fds(), fds);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

START_TEST(a_deadline_is_kept_and_what_is_unknown_stays_unset)
{
    struct instance *instance = a_slow_publisher();
    struct batch *b = a_batch("slow", 50, "x");
    int64_t began = now_ms();
    publish(instance, b, 1500, -1);
    ck_assert_int_lt(now_ms() - began, 10000);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

static void *call_back_soon(void *fd)
{
    uint64_t one = 1;
    usleep(300000);
    if (write(*(int *)fd, &one, sizeof one) < 0)
        abort();
    return NULL;
}

START_TEST(it_comes_back_when_called_back)
{
    struct instance *instance = a_slow_publisher();
    struct batch *b = a_batch("back", 50, "x");
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);
    int64_t began = now_ms();
    ck_assert_int_eq(pthread_create(&thread, NULL, call_back_soon, &fd), 0);
    ck_assert_int_eq(publish(instance, b, 60000, fd), OUTBOX_E_CANCELLED);
    ck_assert_int_lt(now_ms() - began, 10000);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    pthread_join(thread, NULL);
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
}
END_TEST

struct alone {
    const char *prefix;
    uint64_t n_again;
    char *why; /* NULL: all is accepted */
};

static void *publish_alone(void *arg)
{
    struct alone *alone = arg;
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch(alone->prefix, 40, "x");
    uint64_t other;
    int r = publish_all(instance, b);
    batch_accepted(b, &other);
    alone->n_again = b->n_again;
    if ((r != OUTBOX_OK || other < b->n) &&
        asprintf(&alone->why, "publish returned %d (%s), and the outcome of message %llu is %u", r,
                 b->err.text, (unsigned long long)other + 1, b->outcomes[other].verdict) > 0)
        mine(alone->why, free);
    close_publisher(instance);
    return NULL;
}

START_TEST(instances_work_side_by_side)
{
    struct alone alone[4] = {{"ta", 0, NULL}, {"tb", 0, NULL}, {"tc", 0, NULL}, {"td", 0, NULL}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_alone, &alone[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_msg(!alone[i].why, "one of four: %s", alone[i].why);
    if (!publisher_kind()->arrived)
        return;
    int n = publisher_kind()->arrived("tc-40");
    ck_assert_int_ge(n, 1);
    ck_assert_uint_le((uint64_t)n, 1 + alone[2].n_again);
}
END_TEST

START_TEST(signals_stay_as_the_host_has_them)
{
    sigset_t before, after;
    struct sigaction pipe_before, pipe_after, child_before, child_after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    sigaction(SIGPIPE, NULL, &pipe_before);
    sigaction(SIGCHLD, NULL, &child_before);
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("s", 3, "x");
    publish(instance, b, 60000, -1);
    close_publisher(instance);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    sigaction(SIGPIPE, NULL, &pipe_after);
    sigaction(SIGCHLD, NULL, &child_after);
    for (int i = 1; i < 32; i++)
        ck_assert_int_eq(sigismember(&before, i), sigismember(&after, i));
    ck_assert(pipe_before.sa_handler == pipe_after.sa_handler);
    ck_assert(child_before.sa_handler == child_after.sa_handler);
}
END_TEST

static void set_up(void)
{
    publisher_kind()->set_up();
    share_instances();
}

static void tear_down(void)
{
    free_made();
    publisher_kind()->tear_down();
}

void publisher_contract_add(const struct publisher_kind *of, const struct kit_sink *sink)
{
    const struct kit_test like = {.set_up = set_up, .tear_down = tear_down, .timeout_s = 120};
    struct kit_test many = like; /* of a slow one: a second for each message of 300 */
    many.timeout_s = 600;
    publisher_use(of);
    kit_add(sink, &like, opening_and_closing_does_nothing, 0, 1, KIT_OURS);
    kit_add(sink, &like, it_is_opened_and_closed_100_times, 0, 1, 0);
    kit_add(sink, &like, closing_nothing_is_allowed, 0, 1, 0);
    kit_add(sink, &like, check_says_that_it_can_publish, 0, 1, 0);
    kit_add(sink, &many, accepted_messages_have_arrived_once, 0, 3, 0);
    kit_add(sink, &like, unusual_messages_have_an_outcome, 0, 1, 0);
    kit_add(sink, &like, keepalive_says_that_it_is_healthy, 0, 1, 0);
    kit_add(sink, &like, it_can_be_called_again_and_leaves_nothing_behind, 0, 1, KIT_OURS);
    kit_add(sink, &like, a_deadline_is_kept_and_what_is_unknown_stays_unset, 0, 1, KIT_OURS);
    kit_add(sink, &like, it_comes_back_when_called_back, 0, 1, KIT_OURS);
    kit_add(sink, &many, instances_work_side_by_side, 0, 1, 0);
    kit_add(sink, &like, signals_stay_as_the_host_has_them, 0, 1, KIT_OURS);
}

Suite *publisher_contract(const struct publisher_kind *of)
{
    Suite *suite = suite_create(of->plugin);
    const struct kit_sink sink = kit_suite(suite);
    publisher_contract_add(of, &sink);
    return suite;
}
