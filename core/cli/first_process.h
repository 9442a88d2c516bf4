/* SPDX-License-Identifier: Apache-2.0 */
/* first_process.h - outboxd as process 1, as it is in a container. */
#pragma once

/*
 * Process 1 inherits every orphan, of exec publishers say, and has to reap it. If this process is
 * that one, it starts another which returns from here and does the work; this one hands signals on
 * to that one, reaps whatever ends, and ends with its exit code. Before any thread is started.
 */
void first_process_split(void);
