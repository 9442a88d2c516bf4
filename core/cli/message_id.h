/* SPDX-License-Identifier: Apache-2.0 */
/* message_id.h - the id of a message as a person types it. */
#ifndef CORE_CLI_MESSAGE_ID_H
#define CORE_CLI_MESSAGE_ID_H

#include <outbox/abi.h>

#include <stdbool.h>

#define MESSAGE_ID_SIZE 37 /* of a UUID with its NUL */

/* 8-4-4-4-12 hexadecimal digits? Then `lower` is the UUID in lower case. */
bool message_id_is_uuid(const char *text, char lower[MESSAGE_ID_SIZE]);

/* The forms under which a store may have that id: as typed, and a UUID in lower case. */
struct message_id_forms {
    struct outbox_str ids[2];
    uint64_t n;
    char lower[MESSAGE_ID_SIZE];
};
/* `text` must outlive the forms. */
void message_id_forms(const char *text, struct message_id_forms *ret);

/* EXIT_DONE, or EXIT_USAGE after an error that says that no row can have this id. */
int message_id_check(const char *text);
/* Prints that no message has this id, and returns EXIT_FAILED; or, if it is no UUID either,
 * EXIT_USAGE. */
int message_id_unknown(const char *text);

#endif
