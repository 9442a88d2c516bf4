/* SPDX-License-Identifier: Apache-2.0 */
#include "config/diagnostics.h"

#include "base/array.h"

#include <stdarg.h>
#include <stdio.h>

/* Nobody reads more, and a file of junk has a million. */
#define MISTAKES_MAX 1000

struct mistake {
    int line;
    size_t order; /* of two in one line */
    char *text;
};

void diag_error(struct diagnostics *d, int line, const char *fmt, ...)
{
    va_list ap;
    if (d->n_mistakes == MISTAKES_MAX) {
        d->n_dropped++;
        return;
    }
    struct mistake *mistake = array_add(&d->mistakes, &d->n_mistakes, sizeof *mistake);
    if (!diag_memory(d, mistake))
        return;
    mistake->line = line;
    mistake->order = d->n_mistakes;
    va_start(ap, fmt);
    if (vasprintf(&mistake->text, fmt, ap) < 0)
        mistake->text = NULL;
    va_end(ap);
    diag_memory(d, mistake->text);
}

bool diag_check(struct diagnostics *d, int line, const char *key, int r,
                const struct outbox_err *err)
{
    if (diag_memory(d, r != OUTBOX_E_RETRY) && r < 0)
        diag_error(d, line, "%s%s%s", key ? key : "", key ? ": " : "", err->text);
    return r >= 0;
}

bool diag_memory(struct diagnostics *d, bool got)
{
    if (!got)
        d->no_memory = true;
    return got;
}

int diag_result(const struct diagnostics *d)
{
    return d->no_memory ? OUTBOX_E_RETRY : d->n_mistakes > 0 ? OUTBOX_E_CONFIG : OUTBOX_OK;
}

static int compare(const void *a, const void *b)
{
    const struct mistake *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

void diag_report(struct diagnostics *d, const char *file, diag_report_fn report, void *ctx)
{
    if (d->no_memory) {
        report(ctx, file, 0, "out of memory while reading the configuration");
        return;
    }
    if (d->n_mistakes > 0)
        qsort(d->mistakes, d->n_mistakes, sizeof *d->mistakes, compare);
    for (size_t i = 0; i < d->n_mistakes; i++)
        report(ctx, file, d->mistakes[i].line, d->mistakes[i].text);
    if (d->n_dropped > 0) {
        char text[64];
        snprintf(text, sizeof text, "and %zu more mistakes", d->n_dropped);
        report(ctx, file, 0, text);
    }
}

void diag_forget(struct diagnostics *d, int from, int to)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_mistakes; i++) {
        if (d->mistakes[i].line >= from && d->mistakes[i].line <= to)
            free(d->mistakes[i].text);
        else
            d->mistakes[kept++] = d->mistakes[i];
    }
    d->n_mistakes = kept;
    d->n_dropped = 0;
}

void diag_clear(struct diagnostics *d)
{
    for (size_t i = 0; i < d->n_mistakes; i++)
        free(d->mistakes[i].text);
    free(d->mistakes);
    *d = (struct diagnostics){.no_memory = d->no_memory};
}
