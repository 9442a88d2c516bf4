/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - which rows a person means. All but the pattern of the topic is a condition of the
 * statement; patterns are fnmatch's, as in routes, and PostgreSQL has none that means the same.
 */
#pragma once

#include "store.h"

/* HEAD, which ends in a condition, then those of the filter but for the topic, then TAIL; arguments
 * are appended. For free(); NULL without memory. */
char *filter_sql(const char *head, const struct outbox_filter *filter, const char *tail,
                 struct pg_args *args);
/* The next rows of the filter behind *after in order of seq, at most limit: their seqs, in the
 * page's arena. *after moves to the last row that was read. */
int filter_rows(struct store *s, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                int64_t **ret, size_t *ret_n, struct outbox_err *err);
