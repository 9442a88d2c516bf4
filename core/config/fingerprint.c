/* SPDX-License-Identifier: Apache-2.0 */
/* fingerprint.c - do two relays send the same message to the same place? */
#include "base/hash.h"
#include "config/load.h"

#include <inttypes.h>
#include <stdio.h>

/* By name: the order of the publishers decides nothing. */
static const char *publisher_name(const struct config *config, size_t publisher)
{
    return publisher < config->n_publishers ? config->publishers[publisher].name : NULL;
}

static uint64_t hash_route(const struct config *config, const struct route *route)
{
    uint64_t hash = fnv_number(FNV_START, route->n_matches);
    for (size_t i = 0; i < route->n_matches; i++) {
        hash = fnv_number(hash, route->matches[i].subject);
        hash = fnv_text(hash, route->matches[i].header);
        hash = fnv_text(hash, route->matches[i].pattern);
    }
    hash = fnv_text(hash, publisher_name(config, route->publisher));
    hash = fnv_text(hash, route->header);
    hash = fnv_number(hash, route->n_targets);
    for (size_t i = 0; i < route->n_targets; i++) {
        hash = fnv_text(hash, route->targets[i].value);
        hash = fnv_text(hash, publisher_name(config, route->targets[i].publisher));
    }
    hash = fnv_text(hash, route->rule ? route->rule->desc.name : NULL);
    return route->rule ? options_hash(route->rule_cfg, hash) : hash;
}

void set_hash(struct config *config)
{
    uint64_t hash = fnv_number(FNV_START, config->n_publishers);
    uint64_t publishers = 0;
    for (size_t i = 0; i < config->n_publishers; i++)
        publishers += fnv_text(fnv_text(FNV_START, config->publishers[i].name),
                               config->publishers[i].plugin->desc.name);
    hash = fnv_number(hash, publishers);
    for (size_t i = 0; i < config->routes.n_routes; i++)
        hash = fnv_number(hash, hash_route(config, &config->routes.routes[i]));
    hash = fnv_text(hash, publisher_name(config, config->routes.fallback));
    hash = fnv_number(hash, (uint64_t)config->unrouted_fail);
    snprintf(config->hash, sizeof config->hash, "%016" PRIx64, hash);
}
