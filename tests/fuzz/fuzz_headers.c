/* SPDX-License-Identifier: Apache-2.0 */
/* The headers column; what was read can be written and read again. */
#include "common/headers.h"
#include "common/utf8.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

/* Names with a NUL and values that are not clean cannot be written as they are. */
static int writable(const struct outbox_header *headers, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (!utf8_is_clean(headers[i].value.p, (size_t)headers[i].value.n) ||
            headers[i].name.n > 1000)
            return 0;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers, *again;
    uint64_t n_headers, n_again;
    struct outbox_str why = {NULL, 0};
    if (headers_parse((const char *)data, n, 1000, &arena, &headers, &n_headers, &why) != 0) {
        if (!why.p)
            abort();
    } else if (writable(headers, n_headers)) {
        char *text;
        if (headers_render(headers, n_headers, &text) != 0 ||
            headers_parse(text, strlen(text), 1000, &arena, &again, &n_again, &why) != 0 ||
            n_again != n_headers)
            abort();
        free(text);
    }
    arena_free(&arena);
    return 0;
}
