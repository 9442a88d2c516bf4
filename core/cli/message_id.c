/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include "cli/command.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <string.h>
#include <uuid.h>

bool message_id_is_uuid(const char *text, char lower[MESSAGE_ID_SIZE])
{
    uuid_t id;
    if (uuid_parse(text, id) != 0)
        return false;
    uuid_unparse_lower(id, lower);
    return true;
}

void message_id_forms(const char *text, struct message_id_forms *ret)
{
    ret->ids[0] = outbox_cstr(text);
    ret->n = 1;
    if (message_id_is_uuid(text, ret->lower) && strcmp(ret->lower, text) != 0)
        ret->ids[ret->n++] = outbox_cstr(ret->lower);
}

int message_id_check(const char *text)
{
    size_t n = strlen(text);
    if (n > 0 && n <= 255 && utf8_is_clean(text, n))
        return EXIT_DONE;
    report_failure("`%.60s` cannot be the id of a message", text);
    return EXIT_USAGE;
}

int message_id_unknown(const char *text)
{
    char lower[MESSAGE_ID_SIZE];
    if (message_id_is_uuid(text, lower))
        return report_failure("there is no message with the id %s", text);
    report_failure("`%s` is not a UUID, and no message has it for its id", text);
    return EXIT_USAGE;
}
