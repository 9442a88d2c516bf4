/* SPDX-License-Identifier: Apache-2.0 */
/* One event, one line, whatever is in it. */
#include "base/clock.h"
#include "base/log.h"
#include "unit.h"

#include <outbox/abi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_line(int level, enum log_format format, const char *message, const char *value,
                      char *out, size_t size)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct log *log = log_new(fds[1], OUTBOX_LOG_INFO, format);
    log_event(log, level, message, "k", value, "n", LOG_NUM(-5), "none", (const char *)NULL, NULL);
    log_free(log);
    close(fds[1]);
    ssize_t n = read(fds[0], out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    close(fds[0]);
}

START_TEST(hostile_text_stays_one_escaped_line)
{
    char line[8192];
    read_line(OUTBOX_LOG_INFO, LOG_LOGFMT, "hello there", "a\nmsg=fake \x1b[31m\xff\"", line,
              sizeof line);
    ck_assert_ptr_nonnull(strstr(line, " level=info msg=\"hello there\" k=\"a\\nmsg=fake "
                                       "\\u001B[31m\xef\xbf\xbd\\\"\" n=-5\n"));
    ck_assert_uint_eq(strcspn(line, "\n"), strlen(line) - 1);
}
END_TEST

/* Logs are read on terminals: C1 controls drive them, and marks of direction reorder the line. */
START_TEST(what_drives_a_terminal_or_reorders_a_line_is_escaped)
{
    char line[8192];
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        read_line(OUTBOX_LOG_INFO, (enum log_format)format,
                  "m\xc2\x9b"
                  "2J",
                  "a\xe2\x80\xae\x7f\xe2\x80\xa8|gr\xc3\xbc\xc3\x9f", line, sizeof line);
        ck_assert_ptr_nonnull(strstr(line, "\"m\\u009B2J\""));
        ck_assert_ptr_nonnull(strstr(line, "\"a\\u202E\\u007F\\u2028|gr\xc3\xbc\xc3\x9f\""));
    }
    read_line(OUTBOX_LOG_INFO, LOG_LOGFMT, "x", "gr\xc3\xbc\xc3\x9f", line, sizeof line);
    ck_assert_ptr_nonnull(strstr(line, " k=gr\xc3\xbc\xc3\x9f ")); /* as it is */
}
END_TEST

START_TEST(json_is_json)
{
    char line[8192];
    read_line(OUTBOX_LOG_ERROR, LOG_JSON, "x", "a\"\\\t", line, sizeof line);
    ck_assert_ptr_nonnull(
        strstr(line, "\"level\":\"error\",\"msg\":\"x\",\"k\":\"a\\\"\\\\\\t\",\"n\":\"-5\"}\n"));
}
END_TEST

START_TEST(what_is_not_wanted_is_not_written)
{
    char line[8192];
    read_line(OUTBOX_LOG_DEBUG, LOG_LOGFMT, "x", "y", line, sizeof line);
    ck_assert_str_eq(line, "");
    log_event(NULL, OUTBOX_LOG_ERROR, "x", NULL); /* no log at all is fine */
}
END_TEST

START_TEST(too_much_is_cut_but_ends_its_line)
{
    static char value[100000], line[200000];
    memset(value, '\n', sizeof value - 1);
    read_line(OUTBOX_LOG_INFO, LOG_LOGFMT, "x", value, line, sizeof line);
    ck_assert_uint_lt(strlen(line), 20000);
    ck_assert_int_eq(line[strlen(line) - 1], '\n');
}
END_TEST

/* A collector that hangs: its pipe is full, and the relay goes on. */
START_TEST(a_log_that_nobody_reads_does_not_hold_up_and_tells_what_was_dropped)
{
    static char all[1 << 20];
    int fds[2];
    size_t n = 0;
    ck_assert_int_eq(pipe(fds), 0);
    struct log *log = log_new(fds[1], OUTBOX_LOG_INFO, LOG_LOGFMT);
    int64_t began_us = clock_monotonic_us();
    for (int i = 0; i < 5000; i++)
        log_event(log, OUTBOX_LOG_INFO, "a line that fills the pipe", "n", LOG_NUM(i), NULL);
    ck_assert_int_lt(clock_monotonic_us() - began_us, 2000000);
    for (ssize_t got; n < 60000 && (got = read(fds[0], all + n, sizeof all - 1 - n)) > 0;)
        n += (size_t)got;
    log_event(log, OUTBOX_LOG_INFO, "somebody reads again", NULL);
    log_free(log);
    close(fds[1]);
    for (ssize_t got; (got = read(fds[0], all + n, sizeof all - 1 - n)) > 0;)
        n += (size_t)got;
    close(fds[0]);
    all[n] = '\0';
    size_t whole = 0;
    for (const char *p = all; (p = strstr(p, "fills the pipe\" n=")); p++)
        whole++;
    const char *told =
        strstr(all, "level=warning msg=\"nobody read the log; lines were dropped\" ");
    ck_assert_ptr_nonnull(told);
    unsigned long dropped = strtoul(strstr(told, "lines=") + 6, NULL, 10);
    ck_assert_uint_ge(whole + dropped, 5000); /* one may have been cut */
    ck_assert_uint_le(whole + dropped, 5001);
    ck_assert_ptr_nonnull(strstr(told, "somebody reads again\"\n"));
    ck_assert_int_eq(told[-2 - (int)strlen("time=2026-01-01T00:00:00.000000Z")], '\n');
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_add_test(tc, hostile_text_stays_one_escaped_line);
    tcase_add_test(tc, what_drives_a_terminal_or_reorders_a_line_is_escaped);
    tcase_add_test(tc, json_is_json);
    tcase_add_test(tc, what_is_not_wanted_is_not_written);
    tcase_add_test(tc, too_much_is_cut_but_ends_its_line);
    tcase_add_test(tc, a_log_that_nobody_reads_does_not_hold_up_and_tells_what_was_dropped);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
