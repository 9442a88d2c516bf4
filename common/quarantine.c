/* SPDX-License-Identifier: Apache-2.0 */
#include "common/quarantine.h"

#include <stdio.h>
#include <string.h>

#define FIRST_MS 60000
#define MOST_MS 3600000

static int64_t pause_ms(uint32_t times)
{
    return times > 6                                    ? MOST_MS
           : (int64_t)FIRST_MS << (times - 1) < MOST_MS ? (int64_t)FIRST_MS << (times - 1)
                                                        : MOST_MS;
}

/* Where the row is, or would be. */
static size_t place(const struct quarantine *q, int64_t seq)
{
    size_t low = 0, high = q->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->rows[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct quarantine *q, size_t i, int64_t seq)
{
    return i < q->n && q->rows[i].seq == seq;
}

static void remove_at(struct quarantine *q, size_t i)
{
    q->n--;
    memmove(q->rows + i, q->rows + i + 1, (q->n - i) * sizeof *q->rows);
}

/* A row that nobody added again for as long as its last pause was is forgotten. */
static void forget_old(struct quarantine *q, int64_t now_us)
{
    for (size_t i = 0; i < q->n;)
        if (q->rows[i].until_us + pause_ms(q->rows[i].times) * 1000 <= now_us)
            remove_at(q, i);
        else
            i++;
}

int64_t quarantine_add(struct quarantine *q, int64_t seq, int64_t now_us, const char *why)
{
    forget_old(q, now_us);
    size_t i = place(q, seq);
    if (!is_at(q, i, seq)) {
        if (q->n == QUARANTINE_MAX)
            return 0;
        memmove(q->rows + i + 1, q->rows + i, (q->n - i) * sizeof *q->rows);
        q->rows[i] = (struct quarantine_row){.seq = seq};
        q->n++;
    }
    int64_t ms = pause_ms(++q->rows[i].times);
    q->rows[i].until_us = now_us + ms * 1000;
    snprintf(q->reason, sizeof q->reason, "%s", why);
    return ms;
}

const int64_t *quarantine_active(struct quarantine *q, int64_t now_us, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++)
        if (q->rows[i].until_us > now_us)
            q->active[n++] = q->rows[i].seq;
    *ret_n = n;
    return q->active;
}

bool quarantine_has(const struct quarantine *q, int64_t seq, int64_t now_us)
{
    size_t i = place(q, seq);
    return is_at(q, i, seq) && q->rows[i].until_us > now_us;
}

void quarantine_remove(struct quarantine *q, int64_t seq)
{
    size_t i = place(q, seq);
    if (is_at(q, i, seq))
        remove_at(q, i);
}
