/* SPDX-License-Identifier: Apache-2.0 */
#include "config/fingerprint.h"

#include "base/hash.h"
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t hash_route(const struct route *route)
{
    uint64_t hash = hash_number(HASH_START, route->n_matches);
    for (size_t i = 0; i < route->n_matches; i++) {
        hash = hash_number(hash, route->matches[i].subject);
        hash = hash_text(hash, route->matches[i].name);
        hash = hash_text(hash, route->matches[i].pattern);
    }
    hash = hash_text(hash, route->publisher);
    hash = hash_text(hash, route->header);
    hash = hash_number(hash, route->n_targets);
    for (size_t i = 0; i < route->n_targets; i++) {
        hash = hash_text(hash, route->targets[i].value);
        hash = hash_text(hash, route->targets[i].publisher);
    }
    hash = hash_text(hash, route->rule ? route->rule->desc.name : NULL);
    return route->rule ? options_hash(route->rule_cfg, hash) : hash;
}

void fingerprint_set(struct config *config)
{
    uint64_t hash = hash_number(HASH_START, config->n_publishers);
    uint64_t publishers = 0;
    for (size_t i = 0; i < config->n_publishers; i++)
        publishers += hash_text(hash_text(HASH_START, config->publishers[i].name),
                                config->publishers[i].plugin->desc.name);
    hash = hash_number(hash, publishers);
    for (size_t i = 0; i < config->routes.n_routes; i++)
        hash = hash_number(hash, hash_route(&config->routes.routes[i]));
    hash = hash_text(hash, config->routes.fallback);
    hash = hash_number(hash, (uint64_t)config->unrouted_fail);
    snprintf(config->hash, sizeof config->hash, "%016" PRIx64, hash);
}
