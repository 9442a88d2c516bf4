/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - what JetStream's answers are read with. */
#pragma once

#include <json-c/json.h>

/* The error of an answer. */
struct json_error {
    int code;     /* as in HTTP; 0: there is none */
    int err_code; /* JetStream's own number; 0: there is none */
    const char *text;
};

static inline json_object *json_parse(const char *text)
{
    json_object *root = json_tokener_parse(text);
    if (root && !json_object_is_type(root, json_type_object)) {
        json_object_put(root);
        root = NULL;
    }
    return root;
}

/* NULL: there is none of that type. */
static inline json_object *json_member(json_object *root, const char *name, json_type type)
{
    json_object *member;
    return root && json_object_object_get_ex(root, name, &member) &&
                   json_object_is_type(member, type)
               ? member
               : NULL;
}

/* "": there is none. */
static inline const char *json_text(json_object *root, const char *name)
{
    json_object *member = json_member(root, name, json_type_string);
    return member ? json_object_get_string(member) : "";
}

static inline struct json_error json_error_of(json_object *root)
{
    json_object *error = json_member(root, "error", json_type_object);
    json_object *code = json_member(error, "code", json_type_int);
    json_object *err_code = json_member(error, "err_code", json_type_int);
    struct json_error e = {code ? json_object_get_int(code) : 0,
                           err_code ? json_object_get_int(err_code) : 0,
                           json_text(error, "description")};
    return e;
}
