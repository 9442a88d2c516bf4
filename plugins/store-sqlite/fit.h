/* SPDX-License-Identifier: Apache-2.0 */
/* fit.h - whether the tables that are there are those that the statements of this store need. */
#pragma once

#include "store.h"

enum fit_form { FIT_MISSING, FIT_OLD, FIT_OURS };

int fit_find_form(struct store *s, enum fit_form *ret, struct outbox_err *err);
/* OK, or OUTBOX_E_CONFIG with what to do. */
int fit_check(struct store *s, struct outbox_err *err);
/* Logs what is in the table and will never be sent. */
int fit_warn(struct store *s, struct outbox_err *err);
