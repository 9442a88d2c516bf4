/* SPDX-License-Identifier: Apache-2.0 */
/* table_name.h - the name of the outbox table: taken apart, and put into statements. */
#pragma once

#include <outbox/helpers.h>

struct table_name {
    char *schema; /* NULL: found through search_path */
    char *table;
};

/* "name", "schema.name", either part in double quotes. OUTBOX_E_CONFIG with what is wrong. */
int table_name_parse(const char *text, struct table_name *ret, struct outbox_err *err);
void table_name_free(struct table_name *name);
/* Puts quoted names for {t} (the table), {t_X} (a companion TABLE_X) and {n_X} (the same without
 * its schema). `schema` is the table's where the name has none; or NULL. For free(); NULL without
 * memory. */
char *table_name_render(const struct table_name *name, const char *schema, const char *sql);
