/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status.c - outboxd status: how much waits, for how long, and who works on it. */
#include "cli/command.h"
#include "cli/output.h"
#include "cli/status_check.h"
#include "common/message_json.h"
#include "policy/relay_state.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum life { LIFE_LIVE, LIFE_ENDED, LIFE_LOST, N_LIVES };

/* How many relays of each kind that work no longer are printed: their rows stay for a day. */
#define FEW 3

/* The counts in the order of the output. */
static const struct count {
    const char *name;
    uint32_t bit; /* of outbox_stats.at_least */
    size_t offset;
} counts[] = {
    {"pending", OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending)},
    {"delayed", OUTBOX_STATS_DELAYED, offsetof(struct outbox_stats, delayed)},
    {"processing", OUTBOX_STATS_PROCESSING, offsetof(struct outbox_stats, processing)},
    {"processed", OUTBOX_STATS_PROCESSED, offsetof(struct outbox_stats, processed)},
    {"failed", OUTBOX_STATS_FAILED, offsetof(struct outbox_stats, failed)},
};
#define N_COUNTS (sizeof counts / sizeof counts[0])

static uint64_t count(const struct outbox_stats *stats, const struct count *of)
{
    return *(const uint64_t *)((const char *)stats + of->offset);
}

static enum life life_of(const struct outbox_relay_page *relays, const struct outbox_relay_row *row)
{
    if (row->clean)
        return LIFE_ENDED;
    return relay_state_is_live(relays, row) ? LIFE_LIVE : LIFE_LOST;
}

static bool is_live(const struct outbox_relay_page *relays, const struct outbox_relay_row *row)
{
    return life_of(relays, row) == LIFE_LIVE;
}

static const char *life_name(enum life life)
{
    static const char *const names[] = {"live", "ended", "lost"};
    return names[life];
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;
    if (json_object_is_type(object, json_type_object))
        json_object_object_get_ex(object, name, &value);
    return value;
}

static struct outbox_str member_text(struct json_object *object, const char *name)
{
    struct json_object *value = member(object, name);
    if (!json_object_is_type(value, json_type_string))
        return (struct outbox_str){NULL, 0};
    return (struct outbox_str){json_object_get_string(value),
                               (uint64_t)json_object_get_string_len(value)};
}

/* How long ago, by the relay's own clock; false: it is no time. */
static bool member_age(struct json_object *object, const char *name, int64_t now_us,
                       struct output_age *ret)
{
    struct json_object *value = member(object, name);
    struct tm tm = {0};
    if (!json_object_is_type(value, json_type_string) ||
        !strptime(json_object_get_string(value), "%Y-%m-%dT%H:%M:%S", &tm))
        return false;
    output_age(now_us - timegm(&tm) * INT64_C(1000000), ret);
    return true;
}

/* ---- for people ---- */

static void print_counts(const struct outbox_stats *s)
{
    struct output_age age;
    for (size_t i = 0; i < N_COUNTS; i++) {
        uint64_t n = count(s, &counts[i]);
        printf("%-11s %s%" PRIu64, counts[i].name, s->at_least & counts[i].bit ? ">= " : "", n);
        if (counts[i].bit == OUTBOX_STATS_PENDING && s->oldest_pending_us)
            printf(", the oldest for %s", output_age(s->now_us - s->oldest_pending_us, &age));
        if (counts[i].bit == OUTBOX_STATS_FAILED && n > 0)
            fputs(" (outboxd list --status failed)", stdout);
        putchar('\n');
    }
    if (s->parked > 0)
        printf("warning: of these pending, %" PRIu64 " in lanes, which no relay serves\n",
               s->parked);
    if (s->unknown > 0)
        printf("warning: %" PRIu64 " more with a status that no relay knows; nobody sends them\n",
               s->unknown);
}

/* "label since TIME: text" on a line of its own, if there is a text. */
static void print_reason(const char *label, struct outbox_str since, struct outbox_str text)
{
    if (!text.p)
        return;
    printf("%s", label);
    if (since.p) {
        fputs(" since ", stdout);
        output_text(since, 32);
    }
    fputs(": ", stdout);
    output_text(text, 300);
    putchar('\n');
}

static void print_publishers(struct json_object *publishers, int64_t now_us)
{
    struct output_age age;
    if (!json_object_is_type(publishers, json_type_object))
        return;
    json_object_object_foreach (publishers, name, state) {
        if (!json_object_is_type(state, json_type_object))
            continue;
        fputs("  publisher ", stdout);
        output_text(outbox_cstr(name), 64);
        fputs(": ", stdout);
        output_text(member_text(state, "state"), 32);
        printf(", accepted %" PRId64 ", retried %" PRId64 ", failed %" PRId64,
               json_object_get_int64(member(state, "accepted")),
               json_object_get_int64(member(state, "retried")),
               json_object_get_int64(member(state, "failed")));
        if (member_age(state, "progress_at", now_us, &age))
            printf(", last progress %s ago", age.text);
        putchar('\n');
        print_reason("   ", member_text(state, "since"), member_text(state, "reason"));
    }
}

/* A reload that failed, until one succeeds. */
static void print_reload(struct json_object *reload)
{
    struct json_object *errors = member(reload, "errors");
    if (!json_object_is_type(errors, json_type_array))
        return;
    fputs("  the last reload failed at ", stdout);
    output_text(member_text(reload, "at"), 32);
    puts("; the relay goes on as it was");
    for (size_t i = 0; i < json_object_array_length(errors); i++) {
        fputs("    ", stdout);
        output_text(outbox_cstr(json_object_get_string(json_object_array_get_idx(errors, i))), 300);
        putchar('\n');
    }
}

/* What a live relay says of itself. */
static void print_state(struct json_object *state, int64_t now_us)
{
    struct json_object *waits = member(state, "waits_for");
    int64_t quarantined = json_object_get_int64(member(state, "quarantined"));
    char label[80];
    if (member(state, "probation"))
        puts("  on probation: a relay of this name died, and each batch is noted down before it is "
             "sent");
    for (size_t i = 0;
         json_object_is_type(waits, json_type_array) && i < json_object_array_length(waits); i++) {
        struct json_object *wait = json_object_array_get_idx(waits, i);
        print_reason("  waits", member_text(wait, "since"), member_text(wait, "what"));
    }
    snprintf(label, sizeof label, "  quarantined %" PRId64 " rows that the table refuses to change",
             quarantined);
    if (quarantined > 0)
        print_reason(label, (struct outbox_str){NULL, 0}, member_text(state, "quarantine_reason"));
    print_reason("  polls instead of waiting for news", (struct outbox_str){NULL, 0},
                 member_text(member(state, "waking"), "reason"));
    print_reload(member(state, "reload"));
    print_publishers(member(state, "publishers"), now_us);
}

static void print_relay(const struct outbox_relay_page *relays, const struct outbox_relay_row *row)
{
    struct output_age age;
    enum life life = life_of(relays, row);
    struct json_object *state = relay_state(row);
    fputs("relay ", stdout);
    output_text(row->name, 100);
    printf(": %s, ", life_name(life));
    if (life == LIFE_LIVE && member_text(state, "state").p) {
        output_text(member_text(state, "state"), 32);
        fputs(", ", stdout);
    }
    printf("last seen %s ago", output_age(relays->now_us - row->alive_us, &age));
    if (life == LIFE_LIVE && member_age(state, "progress_at", relays->now_us, &age))
        printf(", last progress %s ago", age.text);
    if (life == LIFE_LOST)
        fputs(" (it did not end cleanly; what it held is free when its lease ends)", stdout);
    if (life == LIFE_LIVE)
        printf(", %.0f messages/s, unrouted %" PRId64 ", settled too late %" PRId64,
               json_object_get_double(member(member(state, "rate"), "published_per_second")),
               json_object_get_int64(member(state, "unrouted")),
               json_object_get_int64(member(state, "stale")));
    putchar('\n');
    if (life == LIFE_LIVE)
        print_state(state, relays->now_us);
    json_object_put(state);
}

/* Do two live relays route differently? */
static bool configured_differently(const struct outbox_relay_page *relays)
{
    const struct outbox_relay_row *first = NULL;
    for (uint32_t i = 0; i < relays->n; i++) {
        if (life_of(relays, relays->rows[i]) != LIFE_LIVE)
            continue;
        if (first && !outbox_str_eq(first->config_hash, relays->rows[i]->config_hash))
            return true;
        first = relays->rows[i];
    }
    return false;
}

static void print(const struct outbox_stats *stats, const struct outbox_relay_page *relays)
{
    unsigned n[N_LIVES] = {0};
    print_counts(stats);
    for (uint32_t i = 0; i < relays->n; i++) {
        enum life life = life_of(relays, relays->rows[i]);
        if (++n[life] <= FEW || life == LIFE_LIVE)
            print_relay(relays, relays->rows[i]);
    }
    for (enum life life = LIFE_ENDED; life < N_LIVES; life++)
        if (n[life] > FEW)
            printf("and %u more that are %s\n", n[life] - FEW, life_name(life));
    if (n[LIFE_LIVE] == 0)
        puts("no relay is running (outboxd run)");
    if (configured_differently(relays))
        puts("warning: live relays have different publishers or routes");
}

/* ---- for programs ---- */

static struct json_object *relay_json(const struct outbox_relay_page *relays,
                                      const struct outbox_relay_row *row)
{
    struct json_object *o = json_object_new_object();
    int r = o ? json_add_text(o, "id", row->id) | json_add_text(o, "name", row->name) |
                    json_add_text(o, "life", outbox_cstr(life_name(life_of(relays, row)))) |
                    json_add_time(o, "started_at", row->started_us) |
                    json_add_time(o, "alive_at", row->alive_us) |
                    json_add_text(o, "version", row->version) |
                    json_add_text(o, "config_hash", row->config_hash) |
                    json_object_object_add(o, "state", relay_state(row))
              : OUTBOX_E_RETRY;
    return output_complete(o, r);
}

static int add_counts(struct json_object *object, const struct outbox_stats *stats)
{
    struct json_object *at_least = json_object_new_array();
    int r = 0;
    for (size_t i = 0; i < N_COUNTS; i++) {
        r |= json_add_int(object, counts[i].name, (int64_t)count(stats, &counts[i]));
        if (at_least && stats->at_least & counts[i].bit)
            json_object_array_add(at_least, json_object_new_string(counts[i].name));
    }
    return r | json_add_int(object, "unknown", (int64_t)stats->unknown) |
           json_add_int(object, "parked", (int64_t)stats->parked) |
           json_object_object_add(object, "at_least", at_least);
}

static int add_relays(struct json_object *object, const struct outbox_relay_page *relays)
{
    struct json_object *rows = json_object_new_array();
    for (uint32_t i = 0; rows && i < relays->n; i++)
        json_object_array_add(rows, relay_json(relays, relays->rows[i]));
    return json_object_object_add(object, "relays", rows);
}

static int print_json(const struct outbox_stats *stats, const struct outbox_relay_page *relays)
{
    struct json_object *o = json_object_new_object();
    bool known = stats->oldest_pending_us != 0;
    int r = o ? add_counts(o, stats) |
                    json_add_seconds(o, "oldest_pending_seconds",
                                     stats->now_us - stats->oldest_pending_us, known) |
                    add_relays(o, relays)
              : OUTBOX_E_RETRY;
    return output_json(output_complete(o, r));
}

/* ---- the command ---- */

struct args {
    struct syntax_args common;
    bool json;
    bool watch;
    bool exact;
    struct status_checks checks;
};

static const struct syntax_option options[] = {
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "As a JSON object"},
    {"watch", 'w', SYNTAX_FLAG, offsetof(struct args, watch), NULL,
     "Again every second, until interrupted"},
    {"exact", 'x', SYNTAX_FLAG, offsetof(struct args, exact), NULL,
     "Count everything, however long it takes"},
    {"fail-if", 'f', SYNTAX_CHECK, offsetof(struct args, checks), "CONDITION",
     "Exit with 1 if pending>N, delayed>N, processing>N, failed>N, oldest>DURATION, no-relay or "
     "paused; may be repeated"},
    {0},
};

static int print_once(struct store *store, const struct args *args)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_relay_page none = {.size = sizeof none}, *relays = &none;
    struct outbox_call call = store_call(args->exact ? COMMAND_LONG_MS : COMMAND_CALL_MS, -1);
    const struct outbox_str all = {NULL, 0};
    int r = store_stats(store, all, args->exact ? OUTBOX_STATS_EXACT : 0, &call, &stats, &err);
    if (r == 0 && status_check_needs_exact(&args->checks, &stats)) {
        call = store_call(COMMAND_LONG_MS, -1);
        r = store_stats(store, all, OUTBOX_STATS_EXACT, &call, &stats, &err);
    }
    if (r < 0)
        return report_failure("%s", err.text);
    r = store_relay_list(store, &call, &relays, &err);
    if (r < 0 && r != OUTBOX_E_NOTSUP)
        return report_failure("%s", err.text);
    int code = EXIT_DONE;
    if (args->json)
        code = print_json(&stats, relays);
    else
        print(&stats, relays);
    return code == EXIT_DONE ? status_check_run(&args->checks, &stats, relays, is_live) : code;
}

/* Until it fails, or a signal ends the program. */
static int watch(struct store *store, const struct args *args)
{
    const char *before = args->json ? "" : isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n";
    int code;
    do {
        fputs(before, stdout);
        code = print_once(store, args);
    } while (code == EXIT_DONE && fflush(stdout) == 0 && sleep(1) == 0);
    return code;
}

static int status(struct store *store, void *data)
{
    const struct args *args = data;
    return args->watch ? watch(store, args) : print_once(store, args);
}

const struct command cmd_status = {
    .name = "status",
    .summary = "show counts, publishers and relays",
    .syntax.options = options,
    .syntax.doc =
        "Shows how many messages wait and for how long, how the publishers are, and which "
        "relays live. Counts that were cut short say >=.",
    .args_size = sizeof(struct args),
    .run_store = status,
};
