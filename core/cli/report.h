/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - errors on standard error, fit for a terminal, and the exit codes. */
#ifndef CORE_CLI_REPORT_H
#define CORE_CLI_REPORT_H

#include <outbox/abi.h>

/* Exit codes (outboxd(1)). The larger one wins where a command does several things. */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Prints "outboxd: text". Returns EXIT_FAILED. */
int report_failure(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints "outboxd: " and err's text; r is the OUTBOX_E_* that came with it. Returns r's exit code.
 */
int report_error(int r, const struct outbox_err *err);
/* Prints FILE:LINE: text, without LINE if it is 0; a diag_report_fn. */
void report_mistake(void *ctx, const char *file, int line, const char *text);

/* EXIT_USAGE for a mistake that a person has to correct, else EXIT_FAILED. */
int report_exit_code(int r);
/* Flushes standard output. Returns code, or EXIT_FAILED if the output could not be written. */
int report_flush(int code);

#endif
