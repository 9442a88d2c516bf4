/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - what each status means for a message. The manual page has the same table. */
#include "http.h"

#define EITHER_RETRY VERDICT_UNAVAILABLE_OR_RETRY
#define EITHER_REJECTED VERDICT_UNAVAILABLE_OR_REJECTED

/* Without an entry: 2xx accepted, 3xx unavailable (or retry, if the url is a template), 5xx
 * unavailable (or retry, while others are accepted), others retry. 400 also comes from servers that
 * stand before a receiver, for what ails the connection. */
static const struct {
    uint16_t status;
    uint8_t verdict;
} meanings[] = {
    {401, OUTBOX_UNAVAILABLE}, {402, OUTBOX_UNAVAILABLE}, {403, EITHER_RETRY},
    {404, EITHER_RETRY},       {405, EITHER_RETRY},       {407, OUTBOX_UNAVAILABLE},
    {408, OUTBOX_LATER},       {410, EITHER_REJECTED},    {413, OUTBOX_REJECTED},
    {414, OUTBOX_REJECTED},    {415, OUTBOX_REJECTED},    {422, OUTBOX_REJECTED},
    {425, OUTBOX_LATER},       {429, OUTBOX_LATER},       {431, OUTBOX_REJECTED},
    {501, OUTBOX_UNAVAILABLE}, {502, OUTBOX_UNAVAILABLE}, {503, OUTBOX_UNAVAILABLE},
    {504, OUTBOX_UNAVAILABLE}, {505, OUTBOX_UNAVAILABLE}, {507, OUTBOX_UNAVAILABLE},
    {511, OUTBOX_UNAVAILABLE}, {520, OUTBOX_UNAVAILABLE}, {521, OUTBOX_UNAVAILABLE},
    {522, OUTBOX_UNAVAILABLE}, {523, OUTBOX_UNAVAILABLE}, {524, OUTBOX_UNAVAILABLE},
    {525, OUTBOX_UNAVAILABLE}, {526, OUTBOX_UNAVAILABLE}, {527, OUTBOX_UNAVAILABLE},
    {529, OUTBOX_UNAVAILABLE}, {530, OUTBOX_UNAVAILABLE},
};

static uint8_t meaning_of_class(int status)
{
    switch (status / 100) {
    case 2:
        return OUTBOX_ACCEPTED;
    case 3:
        return EITHER_RETRY;
    case 5:
        return VERDICT_UNAVAILABLE_UNLESS_ACCEPTED;
    default:
        return OUTBOX_RETRY;
    }
}

static void set_defaults(uint8_t *verdicts)
{
    for (int i = 0; i < STATUS_MAX; i++)
        verdicts[i] = meaning_of_class(i);
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        verdicts[meanings[i].status] = meanings[i].verdict;
}

/* One of the statuses from *ret_first to *ret_last: "409" or "4xx". */
static int read_pattern(const char *text, int *ret_first, int *ret_last)
{
    int is_class = strlen(text) == 3 && text[1] == 'x' && text[2] == 'x';
    if (strlen(text) != 3 || *text < '2' || *text > '5')
        return 0;
    if (!is_class && (text[1] < '0' || text[1] > '9' || text[2] < '0' || text[2] > '9'))
        return 0;
    *ret_first = (*text - '0') * 100;
    if (!is_class)
        *ret_first += (text[1] - '0') * 10 + text[2] - '0';
    *ret_last = is_class ? *ret_first + 99 : *ret_first;
    return 1;
}

/* Statuses stand above classes, whichever list comes first. */
static int read_list(const struct outbox_host *host, const struct outbox_cfg *cfg,
                     const char *option, uint8_t verdict, uint8_t set_by[STATUS_MAX],
                     uint8_t *verdicts, struct outbox_err *err)
{
    for (uint64_t i = 0; i < host->option_count(cfg, option); i++) {
        const char *text = host->option_item(cfg, option, i).p;
        int first, last;
        uint8_t rank;
        if (!read_pattern(text, &first, &last))
            return outbox_fail_option(err, option, "%s: `%.20s` is no status, as 409 or 4xx",
                                      option, text);
        rank = first == last ? 2 : 1;
        for (int s = first; s <= last; s++) {
            if (set_by[s] == rank && verdicts[s] != verdict)
                return outbox_fail_option(err, option, "%s: another list has `%.20s`, too", option,
                                          text);
            if (set_by[s] > rank)
                continue;
            set_by[s] = rank;
            verdicts[s] = verdict;
        }
    }
    return OUTBOX_OK;
}

int status_read(const struct outbox_host *host, const struct outbox_cfg *cfg, uint8_t *verdicts,
                struct outbox_err *err)
{
    static const struct {
        const char *option;
        uint8_t verdict;
    } lists[] = {{"accept_status", OUTBOX_ACCEPTED},
                 {"retry_status", OUTBOX_RETRY},
                 {"later_status", OUTBOX_LATER},
                 {"reject_status", OUTBOX_REJECTED},
                 {"unavailable_status", OUTBOX_UNAVAILABLE}};
    uint8_t set_by[STATUS_MAX] = {0};
    int r = OUTBOX_OK;
    set_defaults(verdicts);
    if (host->option_count(cfg, "accept_status") > 0)
        for (int s = 200; s < 300; s++)
            verdicts[s] = OUTBOX_RETRY;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0] && r == OUTBOX_OK; i++)
        r = read_list(host, cfg, lists[i].option, lists[i].verdict, set_by, verdicts, err);
    return r;
}

uint32_t status_verdict(const struct settings *set, long status, int others_accepted)
{
    uint32_t verdict =
        status >= 0 && status < STATUS_MAX ? set->verdicts[status] : (uint32_t)OUTBOX_RETRY;
    if (verdict == VERDICT_UNAVAILABLE_UNLESS_ACCEPTED)
        return others_accepted ? OUTBOX_RETRY : OUTBOX_UNAVAILABLE;
    if (verdict < VERDICT_UNAVAILABLE_OR_RETRY)
        return verdict;
    if (set->path.fixed)
        return OUTBOX_UNAVAILABLE;
    return verdict == VERDICT_UNAVAILABLE_OR_RETRY ? OUTBOX_RETRY : OUTBOX_REJECTED;
}
