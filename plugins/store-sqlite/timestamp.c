/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Numbers up to these are seconds, as `unixepoch()` gives them, and milliseconds, as in
 * JavaScript; larger ones are microseconds. */
#define SECONDS_MAX INT64_C(100000000000)
#define MILLISECONDS_MAX INT64_C(100000000000000)
/* The end of the year 9999: what is later is no time. */
#define MOST_US INT64_C(253402300799999999)

const char *timestamp_format(int64_t us, char out[TIMESTAMP_SIZE])
{
    struct tm tm;
    time_t seconds = (time_t)(us / 1000000);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, TIMESTAMP_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(out + n, TIMESTAMP_SIZE - n, ".%03d", (int)(us % 1000000 / 1000));
    return out;
}

/* Digits behind a point, as microseconds. Returns what follows them. */
static const char *fraction(const char *p, int64_t *ret_us)
{
    int64_t unit = 100000;
    *ret_us = 0;
    if (*p != '.')
        return p;
    for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
        *ret_us += (*p - '0') * unit;
    return p;
}

/* A date, with or without a time, a fraction of a second, and an offset or Z. */
static bool parse(const char *text, int64_t *ret_us)
{
    struct tm tm = {0};
    int64_t us = 0;
    const char *p = text ? strptime(text, "%Y-%m-%d", &tm) : NULL;
    if (p && (*p == ' ' || *p == 'T')) {
        const char *time = p + 1;
        p = strptime(time, "%H:%M:%S", &tm);
        p = p ? p : strptime(time, "%H:%M", &tm);
        p = p ? fraction(p, &us) : NULL;
    }
    if (!p)
        return false;
    int64_t offset_s = strptime(p, " %z", &tm) ? tm.tm_gmtoff : 0;
    *ret_us = ((int64_t)timegm(&tm) - offset_s) * 1000000 + us;
    return true;
}

static int64_t from_number(int64_t n)
{
    int64_t unit = n < SECONDS_MAX ? 1000000 : n < MILLISECONDS_MAX ? 1000 : 1;
    return n < 0 || n > MOST_US ? 0 : n * unit;
}

static int64_t from_text(const char *text)
{
    int64_t us;
    return parse(text, &us) && us > 0 ? us : 0;
}

static bool is_number(int type)
{
    return type == SQLITE_INTEGER || type == SQLITE_FLOAT;
}

int64_t timestamp_column(sqlite3_stmt *q, int column)
{
    return is_number(sqlite3_column_type(q, column))
               ? from_number(sqlite3_column_int64(q, column))
               : from_text((const char *)sqlite3_column_text(q, column));
}

void timestamp_sql(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    sqlite3_result_int64(context, is_number(sqlite3_value_type(values[0]))
                                      ? from_number(sqlite3_value_int64(values[0]))
                                      : from_text((const char *)sqlite3_value_text(values[0])));
}

/* The words for never and for at once are those of PostgreSQL. */
void timestamp_due_sql(sqlite3_context *context, int n, sqlite3_value **values)
{
    const char *text = is_number(sqlite3_value_type(values[0]))
                           ? NULL
                           : (const char *)sqlite3_value_text(values[0]);
    int64_t us;
    (void)n;
    if (parse(text, &us))
        sqlite3_result_int64(context, us);
    else if (text && sqlite3_stricmp(text, "infinity") == 0)
        sqlite3_result_int64(context, INT64_MAX);
    else if (!text || sqlite3_stricmp(text, "-infinity") != 0)
        sqlite3_result_value(context, values[0]);
}
