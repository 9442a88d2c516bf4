/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - the main of a Check program that speaks TAP. Include it in one file. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
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

#endif
