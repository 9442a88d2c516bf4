/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a configuration file. */
#include "config/ini.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static void report(void *ctx, const char *file, int line, const char *text)
{
    /* A mistake is one line of text about a line of the file. */
    if (line < 0 || text[0] == '\0' || strchr(text, '\n'))
        abort();
    (void)ctx;
    (void)file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ini *ini = NULL;
    struct diagnostics diag = {0};
    int r = ini_read((const char *)data, n, &diag, &ini);
    diag_report(&diag, "fuzz", report, NULL);
    diag_clear(&diag);
    if (r < 0)
        return 0;
    for (size_t i = 0; i < ini->n_sections; i++)
        for (size_t j = 0; j < ini->sections[i].n_entries; j++)
            if (ini->sections[i].entries[j].line <= ini->sections[i].line)
                abort();
    ini_free(ini);
    return 0;
}
