/* SPDX-License-Identifier: Apache-2.0 */
/* section.h - the options of the section, as the host gives them. */
#pragma once

#include <outbox/helpers.h>

#include <stdbool.h>
#include <stdlib.h>

/* What all readers need. */
struct section {
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;
    struct outbox_err *err;
};

static inline int section_no_memory(const struct section *in)
{
    return outbox_fail(in->err, OUTBOX_E_RETRY, "out of memory");
}

/* "" when it is not set. */
static inline const char *section_text(const struct section *in, const char *name)
{
    return in->host->option_text(in->cfg, name).p;
}

static inline int64_t section_int(const struct section *in, const char *name)
{
    return in->host->option_int(in->cfg, name);
}

static inline bool section_is_set(const struct section *in, const char *name)
{
    return in->host->option_text(in->cfg, name).n > 0;
}

/* A copy of a text option; *ret is NULL when it is not set, or empty. */
static inline int section_copy(const struct section *in, const char *name, char **ret)
{
    *ret = section_is_set(in, name) ? strdup(section_text(in, name)) : NULL;
    return section_is_set(in, name) && !*ret ? section_no_memory(in) : OUTBOX_OK;
}
