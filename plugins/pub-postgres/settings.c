/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "inbox.h"

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

/* One part of a name, plain or in double quotes, up to a dot; *text moves behind it. */
static bool take_part(const char **text, char out[IDENTIFIER_MAX + 1])
{
    const char *p = *text;
    bool quoted = *p == '"', ends = !quoted;
    size_t n = 0;
    for (p += quoted; *p; p++) {
        if (quoted && *p == '"' && *++p != '"') { /* a doubled one is one of the name's */
            ends = true;
            break;
        }
        if (!quoted && (*p == '.' || *p == '"'))
            break;
        if (n == IDENTIFIER_MAX || (unsigned char)*p < 0x20)
            return false;
        out[n++] = *p;
    }
    out[n] = '\0';
    *text = p;
    return ends && n > 0;
}

static int read_table(const char *text, struct settings *set, struct outbox_err *err)
{
    const char *p = text;
    bool ok = take_part(&p, set->table);
    if (ok && *p == '.') {
        memcpy(set->schema, set->table, sizeof set->schema);
        p++;
        ok = take_part(&p, set->table);
    }
    if (ok && !*p)
        return OUTBOX_OK;
    return outbox_fail_option(err, "table",
                              "table: `%.100s` cannot be a table's name; NAME or SCHEMA.NAME is "
                              "one, of at most %d bytes each, in double quotes if it has a dot",
                              text, IDENTIFIER_MAX);
}

/* libpq's own text may quote a part of a password. */
static PQconninfoOption *parse(const char *conninfo, struct outbox_err *err)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (!options)
        outbox_fail_option(err, "conninfo",
                           "conninfo: not a connection string; `host=... dbname=...` or "
                           "`postgresql://...` is one (what is wrong is not shown: it may hold a "
                           "password)");
    return options;
}

int settings_check_conninfo(const char *conninfo, struct outbox_err *err)
{
    PQconninfoOption *options = parse(conninfo, err);
    PQconninfoFree(options);
    return options ? OUTBOX_OK : OUTBOX_E_CONFIG;
}

static int check_password(const struct outbox_host *host, const struct outbox_cfg *cfg,
                          struct outbox_err *err)
{
    PQconninfoOption *options = parse(host->option_text(cfg, "conninfo").p, err);
    bool has_one = false;
    if (!options)
        return OUTBOX_E_CONFIG;
    for (const PQconninfoOption *o = options; o->keyword; o++)
        has_one |= strcmp(o->keyword, "password") == 0 && o->val;
    PQconninfoFree(options);
    if (has_one && host->option_is_set(cfg, "password"))
        return outbox_fail_option(err, "password", "password: conninfo has one, too");
    return OUTBOX_OK;
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err)
{
    int r = check_password(host, cfg, err);
    if (r == OUTBOX_OK)
        r = read_table(host->option_text(cfg, "table").p, set, err);
    if (r < 0)
        return r;
    set->application = text_of(host, cfg, "application_name");
    set->notify = text_of(host, cfg, "notify");
    set->source = text_of(host, cfg, "source");
    set->connect_ms = host->option_int(cfg, "connect_timeout");
    set->publish_ms = host->option_int(cfg, "publish_timeout");
    if (set->notify && strlen(set->notify) > IDENTIFIER_MAX)
        return outbox_fail_option(err, "notify", "notify: it is longer than %d bytes",
                                  IDENTIFIER_MAX);
    return OUTBOX_OK;
}
