/* SPDX-License-Identifier: Apache-2.0 */
/* pub-exec: the contract of publishers in both modes, and what hostile programs do to it. */
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static int stream; /* which of the two kinds runs */

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/outbox-exec-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void tear_down(void)
{
    free_made(); /* nothing is left of it after the contract's own fixture */
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(dir);
}

static void set(struct outbox_cfg *cfg, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set(cfg, name, value, &err) < 0)
        ck_abort_msg("%s: %s", name, err.text);
}

/* The program is a script beside what arrives; `before` is what it does for each message first. */
static void set_script(struct outbox_cfg *cfg, const char *before)
{
    static const char message[] = "%s\necho \"$OUTBOX_ID\" >>%s/arrived\n";
    static const char streaming[] = "read -r hello\n"
                                    "while IFS= read -r line; do\n"
                                    "  id=${line#*'\"id\":\"'} id=${id%%%%'\"'*}\n"
                                    "  %s\n"
                                    "  echo \"$id\" >>%s/arrived\n"
                                    "  printf '{\"id\":\"%%s\",\"status\":\"ok\"}\\n' \"$id\"\n"
                                    "done\n";
    char path[128], command[256];
    /* Its own for each: another thread's shell may be reading one right now. */
    snprintf(path, sizeof path, "%s/script-XXXXXX", dir);
    FILE *f = fdopen(mkstemp(path), "w");
    ck_assert_ptr_nonnull(f);
    if (stream)
        fprintf(f, streaming, before, dir);
    else
        fprintf(f, message, before, dir);
    ck_assert_int_eq(fclose(f), 0);
    snprintf(command, sizeof command, "/bin/sh %s", path);
    set(cfg, "mode", stream ? "stream" : "message");
    set(cfg, "command", command);
}

static void configure(struct outbox_cfg *cfg)
{
    set_script(cfg, ":");
}

static void configure_slow(struct outbox_cfg *cfg)
{
    set_script(cfg, "sleep 1");
    set(cfg, "timeout", "1200ms");
}

static int arrived(const char *id)
{
    char path[128], line[256];
    int n = 0;
    snprintf(path, sizeof path, "%s/arrived", dir);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        n += strcmp(line, id) == 0;
    }
    if (f)
        fclose(f);
    return n;
}

static const struct publisher_kind kind = {
    .plugin = "exec",
    .set_up = set_up,
    .tear_down = tear_down,
    .configure = configure,
    .configure_slow = configure_slow,
    .arrived = arrived,
};

/* How many processes have this word as their last argument. */
static int processes_with(const char *word)
{
    int n = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], text[256] = "";
        snprintf(path, sizeof path, "/proc/%.250s/cmdline", entry->d_name);
        FILE *f = fopen(path, "re");
        size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
        if (f)
            fclose(f);
        size_t len = strlen(word);
        n += got > len + 1 && memcmp(text + got - len - 1, word, len) == 0;
    }
    closedir(proc);
    return n;
}

/* ---- hostile programs, mode = message ---- */

static struct batch *run_one(const char *command, const char *payload, const char *timeout)
{
    struct instance *instance = a_publisher("command", command, "timeout", timeout, NULL);
    struct batch *b = a_batch("one", 1, payload);
    publish(instance, b, 20000, -1);
    /* The reason is borrowed until the next call or close. */
    if (b->outcomes[0].reason.p)
        b->outcomes[0].reason = outbox_cstr(mine(strdup(reason(b, 0)), free));
    close_publisher(instance);
    ck_assert_int_eq(count_children(), 0);
    return b;
}

static const struct {
    const char *script;
    uint32_t verdict;
    const char *reason;
} exits[] = {
    {"exit 0", OUTBOX_ACCEPTED, ""},
    {"echo busy >&2; exit 75", OUTBOX_RETRY, "exit 75: busy"},
    {"exit 1", OUTBOX_RETRY, "exit 1"},
    {"exit 64", OUTBOX_REJECTED, "exit 64"},
    {"printf 'a\\\\0b\\\\377' >&2; exit 65", OUTBOX_REJECTED,
     "exit 65: a\xef\xbf\xbd"
     "b\xef\xbf\xbd"},
    {"exit 69", OUTBOX_UNAVAILABLE, "exit 69"},
    {"exit 78", OUTBOX_UNAVAILABLE, "exit 78"},
    {"exit 126", OUTBOX_UNAVAILABLE, "exit 126"},
    {"exit 127", OUTBOX_UNAVAILABLE, "exit 127"},
    {"kill -9 $$", OUTBOX_RETRY, "killed by signal 9 (Killed)"},
};

START_TEST(exit_codes_have_their_meaning)
{
    char command[256];
    snprintf(command, sizeof command, "/bin/sh -c \"%s\"", exits[_i].script);
    struct batch *b = run_one(command, "x", "10s");
    ck_assert_uint_eq(b->outcomes[0].verdict, exits[_i].verdict);
    ck_assert_str_eq(reason(b, 0), exits[_i].reason);
}
END_TEST

START_TEST(a_program_that_does_not_read_a_large_payload_is_no_problem)
{
    char *large = mine(malloc((10 << 20) + 1), free);
    memset(large, 'x', 10 << 20);
    large[10 << 20] = '\0';
    ck_assert_uint_eq(run_one("/bin/true", large, "10s")->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(
        run_one("/bin/sh -c \"test $(wc -c) = 10485760\"", large, "10s")->outcomes[0].verdict,
        OUTBOX_ACCEPTED);
    /* Reading only after writing a lot: neither side may wait for the other. */
    ck_assert_uint_eq(
        run_one("/bin/sh -c \"head -c 300000 /dev/zero >&2; cat >/dev/null\"", large, "10s")
            ->outcomes[0]
            .verdict,
        OUTBOX_ACCEPTED);
}
END_TEST

START_TEST(a_flood_on_stderr_is_cut_to_4_kib)
{
    struct batch *b =
        run_one("/bin/sh -c \"yes words | head -c 1000000 >&2; exit 75\"", "x", "10s");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_RETRY);
    ck_assert_uint_gt(strlen(reason(b, 0)), 3000);
    ck_assert_uint_lt(strlen(reason(b, 0)), 4300);
}
END_TEST

START_TEST(a_flood_without_end_is_cut_off_in_time)
{
    int64_t began = now_ms();
    struct batch *b = run_one("/bin/sh -c \"yes words >&2 & yes words >&2\"", "x", "2s");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_RETRY);
    ck_assert_ptr_nonnull(strstr(reason(b, 0), "timed out after 2000 ms: words"));
    ck_assert_int_lt(now_ms() - began, 15000);
}
END_TEST

START_TEST(a_grandchild_that_hangs_does_not_hang_us)
{
    /* It holds stdin and stderr open; the program itself ends at once. */
    int64_t began = now_ms();
    struct batch *b = run_one("/bin/sh -c \"sleep 30 & exit 0\"", "x", "10s");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_int_lt(now_ms() - began, 9000);
    /* On a time-out the whole group dies, also what ignores SIGTERM. */
    began = now_ms();
    b = run_one("/bin/sh -c \"trap '' TERM; sleep 4711 & sleep 4711\"", "x", "300ms");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_RETRY);
    ck_assert_ptr_nonnull(strstr(reason(b, 0), "timed out after 300 ms"));
    ck_assert_int_lt(now_ms() - began, 9000);
    /* What was killed may take a moment to be gone. */
    for (int i = 0; processes_with("4711") > 0 && i < 250; i++)
        poll(NULL, 0, 20);
    ck_assert_int_eq(processes_with("4711"), 0);
}
END_TEST

START_TEST(headers_too_large_for_an_environment_reject_the_message)
{
    struct instance *instance = a_publisher("command", "/bin/true", NULL);
    struct batch *b = a_batch("big", 2, "x");
    char *large = mine(malloc(200001), free);
    memset(large, 'x', 200000);
    large[200000] = '\0';
    struct outbox_header header = {outbox_cstr("h"), outbox_cstr(large)};
    b->msgs[0].headers = &header;
    b->msgs[0].n_headers = 1;
    publish(instance, b, 20000, -1);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_REJECTED);
    ck_assert_uint_eq(b->outcomes[1].verdict, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

START_TEST(what_cannot_be_started_is_an_outage)
{
    struct batch *b = run_one("/nonexistent/program", "x", "10s");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(reason(b, 0), "No such file"));
    b = run_one("/etc/passwd", "x", "10s");
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_UNAVAILABLE);
}
END_TEST

START_TEST(several_run_at_once)
{
    struct instance *instance = a_publisher("command", "/bin/sleep 1", "concurrency", "10", NULL);
    struct batch *b = a_batch("c", 10, "x");
    int64_t began = now_ms();
    publish(instance, b, 60000, -1);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_lt(now_ms() - began, 8000);
    close_publisher(instance);
}
END_TEST

START_TEST(nothing_is_started_that_could_not_finish)
{
    struct instance *instance = a_publisher("timeout", "5s", NULL);
    struct batch *b = a_batch("n", 1, "x");
    ck_assert_int_eq(publish(instance, b, 4000, -1), OUTBOX_OK);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_UNSET);
    ck_assert_int_eq(arrived("n-1"), 0);
    close_publisher(instance);
}
END_TEST

static Suite *hostile(void)
{
    Suite *suite = suite_create("exec, hostile programs");
    TCase *tc = tcase_create("message");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, exit_codes_have_their_meaning, 0, sizeof exits / sizeof exits[0]);
    tcase_add_test(tc, a_program_that_does_not_read_a_large_payload_is_no_problem);
    tcase_add_test(tc, a_flood_on_stderr_is_cut_to_4_kib);
    tcase_add_test(tc, a_flood_without_end_is_cut_off_in_time);
    tcase_add_test(tc, a_grandchild_that_hangs_does_not_hang_us);
    tcase_add_test(tc, headers_too_large_for_an_environment_reject_the_message);
    tcase_add_test(tc, what_cannot_be_started_is_an_outage);
    tcase_add_test(tc, several_run_at_once);
    tcase_add_test(tc, nothing_is_started_that_could_not_finish);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(int argc, char **argv)
{
    stream = argc > 0 && strstr(argv[0], "stream") != NULL;
    SRunner *runner = srunner_create(publisher_contract(&kind));
    if (!stream)
        srunner_add_suite(runner, hostile());
    return unit_run(runner);
}
