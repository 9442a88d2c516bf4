/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"
#include "schema/schema.h"

int store_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return check_enter(&s->conn, s->notify, call, err);
}

int store_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    if (s->claim.held && conn_has_session(&s->conn, s->claim.held->session))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a batch is held: until it is released this instance does nothing else");
    return store_enter_held(s, call, err);
}
