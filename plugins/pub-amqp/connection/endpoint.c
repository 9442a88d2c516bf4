/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/endpoint.h"

#include <stdlib.h>
#include <string.h>

struct target *target_ref(struct target *target)
{
    target->refs++;
    return target;
}

void target_unref(struct target *target)
{
    if (!target || --target->refs > 0)
        return;
    if (target->password)
        explicit_bzero(target->password, strlen(target->password));
    url_free(&target->url);
    free(target->user);
    free(target->password);
    free(target->ca_file);
    free(target->cert_file);
    free(target->key_file);
    free(target->client_version);
    free(target->client_name);
    free(target);
}
