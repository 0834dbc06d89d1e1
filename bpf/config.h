/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs of the NAT64 are loaded with. */
#pragma once

#include "common.h"

const volatile struct n64_config cfg = {};
