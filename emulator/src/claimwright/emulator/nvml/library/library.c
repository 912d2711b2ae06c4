/* libnvidia-ml.so.1 of an emulated node: one translation unit, hand-written bodies first, tables for the rest. */

#define _GNU_SOURCE
#include "core.h"

#include "connection.c"
#include "answers.c"
#include "events.c"
#include "lifetime.c"
#include "system.c"
#include "devices.c"
#include "pci.c"
#include "memory.c"
#include "processes.c"
#include "clocks.c"
#include "health.c"
#include "nvlink.c"
#include "topology.c"
#include "fields.c"
#include "mig.c"
#include "settings.c"
#include "remote.c"
#include "unsupported.c"
#include "exports.c"
