/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "connection/rabbitmq_compat.h"

/* What a frame of the broker's means for the instance `amqp`: see connection.h, on_frame. */
void frames_receive(void *amqp, const amqp_frame_t *frame);
