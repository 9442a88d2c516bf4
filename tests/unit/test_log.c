/* SPDX-License-Identifier: Apache-2.0 */
/* One event, one line, whatever is in it. */
#include "log.h"
#include "unit.h"

#include <outbox/abi.h>

#include <stdio.h>
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

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_add_test(tc, hostile_text_stays_one_escaped_line);
    tcase_add_test(tc, what_drives_a_terminal_or_reorders_a_line_is_escaped);
    tcase_add_test(tc, json_is_json);
    tcase_add_test(tc, what_is_not_wanted_is_not_written);
    tcase_add_test(tc, too_much_is_cut_but_ends_its_line);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
