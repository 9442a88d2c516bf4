/* SPDX-License-Identifier: Apache-2.0 */
/* store-sqlite keeps the contract of every store. */
#include "sqlite_kind.h"
#include "unit.h"

int main(void)
{
    return unit_main(store_contract(&sqlite_kind));
}
