/* SPDX-License-Identifier: Apache-2.0 */
/* janitor.h - the thread that renews the workers' leases, writes this relay's row, and deletes what
 * is old. */
#ifndef CORE_RELAY_JANITOR_H
#define CORE_RELAY_JANITOR_H

void *janitor_main(void *relay);

#endif
