/* SPDX-License-Identifier: Apache-2.0 */
/* One value: comments and quotes, variables, commands, lists, numbers with units. */
#include "base/value.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static void numbers(const char *text)
{
    struct value_text shown;
    int64_t n, again;
    value_int(text, &n, NULL);
    value_bool(text, &n, NULL);
    if (value_size(text, &n, NULL) == 0 &&
        (value_size(value_show_size(n, &shown), &again, NULL) < 0 || again != n))
        abort();
    if (value_duration(text, &n, NULL) == 0 &&
        (value_duration(value_show_duration(n, &shown), &again, NULL) < 0 || again != n))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct outbox_err err = {.size = sizeof err};
    struct value_items items;
    char *raw = malloc(n + 1), *text, *expanded;
    if (!raw)
        return 0;
    memcpy(raw, data, n);
    raw[n] = '\0';
    text = value_unquote(raw);
    if (text) {
        if (strlen(text) > strlen(raw))
            abort();
        if (value_expand(text, &expanded, &err) == 0)
            free(expanded);
        if (value_argv(text, &items, &err) == 0)
            value_items_free(&items);
        if (value_list(text, &items, &err) == 0)
            value_items_free(&items);
        numbers(text);
    }
    free(text);
    free(raw);
    return 0;
}
