/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: the contract of publishers against a real RabbitMQ. The program's name says which mode.
 */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "fake_broker.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static bool queue_mode;
static struct fake fake; /* takes everything and confirms nothing */

static void set_up(void)
{
    rig_start();
    rig_queue(rig_name("q"), NULL);
    rig_exchange(rig_name("x"), "topic");
    rig_bind(rig_name("q"), rig_name("x"), "#");
    fake = (struct fake){.silence = FAKE_SILENT_AFTER_PUBLISH};
    fake_start(&fake);
}

static void tear_down(void)
{
    fake_stop(&fake);
    rig_stop();
}

static void set(struct outbox_cfg *cfg, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set(cfg, name, value, &err) < 0)
        ck_abort_msg("%s: %s", name, err.text);
}

static void configure(struct outbox_cfg *cfg)
{
    set(cfg, "url", getenv("OUTBOX_TEST_AMQP"));
    set(cfg, "mode", queue_mode ? "queue" : "pubsub");
    set(cfg, queue_mode ? "queue" : "exchange", rig_name(queue_mode ? "q" : "x"));
}

static void configure_slow(struct outbox_cfg *cfg)
{
    char url[64];
    configure(cfg);
    set(cfg, "url", fake_url(&fake, url));
    set(cfg, "confirm_timeout", "1200ms");
}

static int arrived(const char *id)
{
    return rig_arrived(rig_name("q"), id);
}

static const struct publisher_kind kind = {
    .plugin = "amqp",
    .set_up = set_up,
    .tear_down = tear_down,
    .configure = configure,
    .configure_slow = configure_slow,
    .arrived = arrived,
};

int main(int argc, char **argv)
{
    queue_mode = argc > 0 && strstr(argv[0], "queue") != NULL;
    unit_needs("OUTBOX_TEST_AMQP");
    rig_lock();
    return unit_main(publisher_contract(&kind));
}
