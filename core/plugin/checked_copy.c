/* SPDX-License-Identifier: Apache-2.0 */
/* checked_copy.c - copies of messages and texts, each at the end of a page. */
#include "plugin/checked_call.h"

struct outbox_str checked_copy_str(struct checked_pages *pages, struct outbox_str text)
{
    return (struct outbox_str){
        text.p ? checked_pages_add(pages, text.p, (size_t)text.n, false) : NULL, text.n};
}

struct outbox_str checked_copy_terminated(struct checked_pages *pages, struct outbox_str text)
{
    return (struct outbox_str){
        text.p ? checked_pages_add(pages, text.p, (size_t)text.n + 1, false) : NULL, text.n};
}

const struct outbox_message *checked_copy_message(struct checked_pages *pages,
                                                  const struct outbox_message *msg)
{
    struct outbox_message *copy = checked_pages_add(pages, msg, sizeof *msg, false);
    size_t n = (size_t)msg->n_headers;
    struct outbox_header *headers =
        n ? checked_pages_add(pages, msg->headers, n * sizeof *headers, false) : NULL;
    if (pages->failed)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        headers[i].name = checked_copy_terminated(pages, msg->headers[i].name);
        headers[i].value = checked_copy_terminated(pages, msg->headers[i].value);
    }
    copy->headers = headers;
    copy->id = checked_copy_str(pages, msg->id);
    copy->topic = checked_copy_str(pages, msg->topic);
    copy->key = checked_copy_str(pages, msg->key);
    copy->payload = checked_copy_str(pages, msg->payload);
    copy->row_id = checked_copy_str(pages, msg->row_id);
    copy->defect = checked_copy_str(pages, msg->defect);
    return copy;
}
