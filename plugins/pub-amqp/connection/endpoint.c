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
    if (endpoint->password)
        explicit_bzero(endpoint->password, strlen(endpoint->password));
    url_free(&endpoint->url);
    free(endpoint->user);
    free(endpoint->password);
    free(endpoint->ca_file);
    free(endpoint->cert_file);
    free(endpoint->key_file);
    free(endpoint->client_name);
    free(endpoint);
}
