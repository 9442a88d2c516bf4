/* SPDX-License-Identifier: Apache-2.0 */
/* subject.c - the subject that a message goes to. */
#include "broker.h"

/* The library looks at nothing: a blank in a subject would be read as the next word of the
 * protocol. */
const char *subject_fault(const char *subject, size_t n)
{
    char before = '.';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)subject[i];
        if (c <= ' ' || c == 0x7F)
            return "has a blank or a control character";
        if (c == '*' || c == '>')
            return "has a `*` or `>`";
        if (c == '"' || c == '\\') /* the server would escape it in what it says of the subject */
            return "has a `\"` or `\\`";
        if (c == '.' && before == '.')
            return "has an empty part between its dots";
        before = (char)c;
    }
    return n > 0 && before == '.' ? "ends with a dot" : NULL;
}

int subject_make(struct broker *b, const struct outbox_message *msg, struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    const char *fault;
    size_t n = 0;
    int r = outbox_template_render(&set->subject, msg, b->subject, sizeof b->subject, &n, err);
    if (r < 0)
        return r;
    if (n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the subject is empty");
    fault = subject_fault(b->subject, n);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the subject `%.80s` %s", b->subject, fault);
    if (set->restricted &&
        !outbox_template_allows(b->client.host, b->client.cfg, "allow_subjects", b->subject))
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not among allow_subjects", b->subject);
    /* $SYS, $JS and the like are the server's: a person has to allow them. */
    if (*b->subject == '$' && !set->restricted && set->subject.text[0] != '$')
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the subject `%.80s` begins with a `$` and is not among allow_subjects",
                           b->subject);
    return OUTBOX_OK;
}
