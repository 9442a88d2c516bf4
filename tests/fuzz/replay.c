/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c - runs a target over its corpus, without a fuzzer; speaks TAP. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int replay(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    /* A copy of its exact size, so that a sanitizer sees one byte too many. */
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    char folder[4096], path[8192];
    unsigned count = 0;
    const char *source = getenv("OUTBOX_TEST_SRCDIR");
    const char *name = argc > 0 ? strrchr(argv[0], '_') : NULL; /* replay_ini: ini */
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", source ? source : ".",
             name ? name + 1 : "");
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        printf("%s %u - %s\n", replay(path) == 0 ? "ok" : "not ok", ++count, entry->d_name);
    }
    if (dir)
        closedir(dir);
    if (count == 0)
        printf("not ok %u - no corpus in %s\n", ++count, folder);
    printf("1..%u\n", count);
    return 0;
}
