/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/endpoint.h"

#include <stdlib.h>
#include <string.h>

struct endpoint *endpoint_ref(struct endpoint *endpoint)
{
    endpoint->refs++;
    return endpoint;
}

void endpoint_unref(struct endpoint *endpoint)
{
    if (!endpoint || --endpoint->refs > 0)
        return;
    url_clear(&endpoint->url);
    free(endpoint->user);
    free(endpoint->ca_file);
    free(endpoint->cert_file);
    free(endpoint->key_file);
    free(endpoint->client_name);
    free(endpoint);
}

void secret_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}
