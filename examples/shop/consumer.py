#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A consumer of the shop's messages, with a queue of its own that is bound to the shop's exchange.

consumer.py URL. Declares the exchange, the queue and its binding, prints "ready" on stderr, and prints "ID TOPIC PAYLOAD" of
each message that arrives. It binds gifts only after two seconds: until then no queue takes them.
"""
import sys

import pika


def main():
    connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    channel = connection.channel()
    channel.exchange_declare("shop", exchange_type="topic", durable=True)
    channel.queue_declare("warehouse", durable=True)
    channel.queue_bind("warehouse", "shop", "order.placed")
    print("ready", file=sys.stderr, flush=True)

    def arrived(_channel, method, properties, body):
        print(properties.message_id, method.routing_key, body.decode(), flush=True)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("warehouse", arrived)
    connection.call_later(2, lambda: channel.queue_bind("warehouse", "shop", "order.gift"))
    channel.start_consuming()


main()
