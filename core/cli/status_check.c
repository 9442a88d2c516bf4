/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_check.h"

#include "base/suggest.h"
#include "base/value.h"
#include "cli/command.h"
#include "cli/output.h"
#include "policy/relay_state.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the kinds look at. */
struct facts {
    const struct outbox_stats *stats;
    unsigned n_live;
    char paused[64]; /* a publisher of a live relay that is not ready; empty: none */
};

/* Writes what is seen, if the condition holds. */
typedef bool (*holds_fn)(const struct status_check *check, const struct facts *facts, char *seen,
                         size_t size);

struct status_check_kind {
    const char *name;
    int (*parse)(const char *text, int64_t *ret,
                 struct outbox_err *err); /* of the limit; NULL: none */
    holds_fn holds;
    uint32_t bit;  /* of outbox_stats.at_least, for a count */
    size_t offset; /* of the count */
};

static uint64_t count_of(const struct status_check_kind *kind, const struct outbox_stats *stats)
{
    return *(const uint64_t *)((const char *)stats + kind->offset);
}

static bool count_holds(const struct status_check *check, const struct facts *facts, char *seen,
                        size_t size)
{
    uint64_t n = count_of(check->kind, facts->stats);
    bool at_least = facts->stats->at_least & check->kind->bit;
    snprintf(seen, size, "%s%" PRIu64 " are %s", at_least ? ">= " : "", n, check->kind->name);
    return n > (uint64_t)check->limit;
}

static bool oldest_holds(const struct status_check *check, const struct facts *facts, char *seen,
                         size_t size)
{
    struct output_age age;
    int64_t us = facts->stats->oldest_pending_us
                     ? facts->stats->now_us - facts->stats->oldest_pending_us
                     : 0;
    snprintf(seen, size, "the oldest has waited for %s", output_age(us, &age));
    return us / 1000 > check->limit;
}

static bool no_relay_holds(const struct status_check *check, const struct facts *facts, char *seen,
                           size_t size)
{
    (void)check;
    snprintf(seen, size, "no relay is live");
    return facts->n_live == 0;
}

static bool paused_holds(const struct status_check *check, const struct facts *facts, char *seen,
                         size_t size)
{
    (void)check;
    snprintf(seen, size, "publisher %s is not ready", facts->paused);
    return facts->paused[0] != '\0';
}

static int parse_count(const char *text, int64_t *ret, struct outbox_err *err)
{
    int r = value_int(text, ret, err);
    return r == 0 && *ret < 0 ? outbox_fail(err, OUTBOX_E_CONFIG, "`%.40s` is below 0", text) : r;
}

#define COUNT(name, bit)                                                                         \
    {                                                                                            \
#name, parse_count, count_holds, OUTBOX_STATS_##bit, offsetof(struct outbox_stats, name) \
    }
static const struct status_check_kind kinds[] = {
    COUNT(pending, PENDING),
    COUNT(delayed, DELAYED),
    COUNT(processing, PROCESSING),
    COUNT(failed, FAILED),
    {"oldest", value_duration, oldest_holds, 0, 0},
    {"no-relay", NULL, no_relay_holds, 0, 0},
    {"paused", NULL, paused_holds, 0, 0},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

const char *status_check_name(size_t i, bool *ret_has_limit)
{
    if (i >= N_KINDS)
        return NULL;
    *ret_has_limit = kinds[i].parse != NULL;
    return kinds[i].name;
}

int status_check_add(struct status_checks *checks, const char *text, struct outbox_err *err)
{
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ">"), text);
    struct suggest similar = suggest_for(name);
    if (checks->n == STATUS_CHECKS_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG, "at most %d conditions", STATUS_CHECKS_MAX);
    struct status_check *check = &checks->checks[checks->n];
    for (size_t i = 0; i < N_KINDS; i++) {
        const char *limit = text + strlen(name);
        suggest_try(&similar, kinds[i].name);
        if (strcmp(name, kinds[i].name) != 0 || *limit != (kinds[i].parse ? '>' : '\0'))
            continue;
        int r = kinds[i].parse ? kinds[i].parse(limit + 1, &check->limit, err) : OUTBOX_OK;
        if (r < 0)
            return r;
        check->text = text;
        check->kind = &kinds[i];
        checks->n++;
        return OUTBOX_OK;
    }
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "`%.40s` is none of pending>N, delayed>N, processing>N, failed>N, "
                       "oldest>DURATION, no-relay and paused%s",
                       text, suggest_hint(&similar));
}

bool status_check_needs_exact(const struct status_checks *checks, const struct outbox_stats *stats)
{
    for (unsigned i = 0; i < checks->n; i++) {
        const struct status_check *check = &checks->checks[i];
        if ((stats->at_least & check->kind->bit) &&
            count_of(check->kind, stats) <= (uint64_t)check->limit)
            return true;
    }
    return false;
}

static void find_paused(const struct outbox_relay_row *row, struct facts *facts)
{
    struct json_object *state = relay_state(row), *publishers = NULL, *word;
    json_object_object_get_ex(state, "publishers", &publishers);
    if (json_object_is_type(publishers, json_type_object)) {
        json_object_object_foreach (publishers, name, publisher) {
            if (json_object_is_type(publisher, json_type_object) &&
                json_object_object_get_ex(publisher, "state", &word) &&
                strcmp(json_object_get_string(word), "ready") != 0)
                snprintf(facts->paused, sizeof facts->paused, "%s", name);
        }
    }
    json_object_put(state);
}

int status_check_run(const struct status_checks *checks, const struct outbox_stats *stats,
                     const struct outbox_relay_page *relays, status_check_live is_live)
{
    struct facts facts = {.stats = stats};
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < relays->n; i++) {
        if (!is_live(relays, relays->rows[i]))
            continue;
        facts.n_live++;
        find_paused(relays->rows[i], &facts);
    }
    for (unsigned i = 0; i < checks->n; i++) {
        const struct status_check *check = &checks->checks[i];
        char seen[128];
        if (check->kind->holds(check, &facts, seen, sizeof seen))
            code = report_failure("%s: %s", check->text, seen);
    }
    return code;
}
