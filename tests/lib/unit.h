/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - the main of a Check program that speaks TAP. Include it in one file. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static inline int unit_run(SRunner *runner)
{
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int unit_main(Suite *suite)
{
    return unit_run(srunner_create(suite));
}

/* The value of a variable that scripts/services.sh sets. Without it the program's cases are
 * skipped, or, in continuous integration, have failed. */
static inline const char *unit_needs(const char *variable)
{
    const char *value = getenv(variable);
    const char *ci = getenv("CI");
    if (value && *value)
        return value;
    if (ci && *ci) {
        printf("1..1\nnot ok 1 - %s is not set: see scripts/services.sh\n", variable);
        exit(EXIT_FAILURE);
    }
    printf("1..0 # SKIP %s is not set: see scripts/services.sh\n", variable);
    exit(EXIT_SUCCESS);
}
