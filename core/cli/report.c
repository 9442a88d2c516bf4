/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int report_failure(const char *fmt, ...)
{
    char text[2048], shown[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    utf8_printable(text, strlen(text), shown, sizeof shown);
    fprintf(stderr, "outboxd: %s\n", shown);
    return EXIT_FAILED;
}

int report_exit_code(int r)
{
    return r == OUTBOX_E_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

int report_error(int r, const struct outbox_err *err)
{
    report_failure("%s", err->text);
    return report_exit_code(r);
}

void report_mistake(void *ctx, const char *file, int line, const char *text)
{
    char shown[4096];
    (void)ctx;
    utf8_printable(text, strlen(text), shown, sizeof shown);
    if (line > 0)
        fprintf(stderr, "%s:%d: %s\n", file, line, shown);
    else
        fprintf(stderr, "%s: %s\n", file, shown);
}

void report_text(const char *text)
{
    char shown[4096];
    utf8_printable(text, strlen(text), shown, sizeof shown);
    fprintf(stderr, "%s\n", shown);
}
