/* nvidia-smi of an emulated node, on top of its NVML library: what drivers, scripts and people use of the real one. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#include "smi/records.h"

#include "smi/calls.c"
#include "smi/gpus.c"
#include "smi/values.c"

#include "smi/readers.c"
#include "smi/readers_gpu.c"
#include "smi/rows.h"

#include "smi/rows.c"
#include "smi/writer.c"
#include "smi/lists.c"
#include "smi/log.c"
#include "smi/csv.c"
#include "smi/table.c"
#include "smi/settings.c"
#include "smi/drain.c"
#include "smi/mig.c"
#include "smi/mig_lists.c"
#include "smi/mig_changes.c"
#include "smi/vgpu_types.c"
#include "smi/vgpu.c"
#include "smi/topology.c"
#include "smi/nvlink.c"
#include "smi/help.c"
#include "smi/arguments.c"
#include "smi/verbs.c"

int main(int count, char **arguments) {
    struct request asked;
    int result = read_arguments(&asked, count, arguments);
    if (!result) result = serve(&asked);
    return fflush(stdout) ? 1 : result;
}
