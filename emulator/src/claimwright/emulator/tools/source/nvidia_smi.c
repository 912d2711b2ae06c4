/* nvidia-smi of an emulated node, on top of its NVML library: the parts that drivers, scripts and people use. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "smi_nvml.h"
#include "smi_fields.h"
#include "smi_table.h"
#include "smi_settings.h"

static int usage(FILE *out) {
    fputs("nvidia-smi of an emulated node (Claimwright)\n\n"
          "  nvidia-smi [-i ID]                                  a table of the GPUs\n"
          "  nvidia-smi -L                                       one line for each GPU\n"
          "  nvidia-smi [-i ID] --query-gpu=A,B --format=csv[,noheader][,nounits]\n"
          "  nvidia-smi --help-query-gpu                         the properties that can be asked for\n"
          "  nvidia-smi [-i ID] -pm 0|1                          persistence mode\n"
          "  nvidia-smi [-i ID] -c MODE                          compute mode: 0 default, 2 prohibited, 3 exclusive process\n"
          "  nvidia-smi [-i ID] -pl WATTS                        power limit\n"
          "  nvidia-smi compute-policy [-i ID] --set-timeslice N 0 default, 1 short, 2 medium, 3 long\n"
          "  nvidia-smi --version\n\n"
          "ID is an index, a UUID, a serial number or a PCI bus id; several are separated by commas.\n", out);
    return 0;
}

static int show_version(void) {
    char driver[80] = "", library[80] = "";
    int cuda = 0;
    nvml.driver_version(driver, sizeof driver);
    nvml.library_version(library, sizeof library);
    nvml.cuda_version(&cuda);
    printf("NVIDIA-SMI version  : %s\nNVML version        : %s\nDRIVER version      : %s\nCUDA Version        : %d.%d\n",
           driver, strchr(library, '.') ? strchr(library, '.') + 1 : library, driver, cuda / 1000, cuda % 1000 / 10);
    return 0;
}

static int list_gpus(void) {
    for (unsigned at = 0; at < chosen_count; at++) {
        char name[96] = "", uuid[96] = "";
        unsigned index = 0;
        int result = nvml.name(chosen[at], name, sizeof name);
        if (result == OK) result = nvml.uuid(chosen[at], uuid, sizeof uuid);
        if (result == OK) result = nvml.index(chosen[at], &index);
        if (result != OK) return complain(result);
        printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
    }
    return 0;
}

struct request {
    const char *ids, *query, *format, *persistence, *compute, *power, *slice;
    bool list, version, help, help_query, policy;
};

/* Long options of one dash (-pm) and values after a blank or `=` do not go together in getopt: read them here. */
static const char *value_of(int *at, int count, char **arguments, const char *name) {
    size_t length = strlen(name);
    const char *argument = arguments[*at];
    if (strncmp(argument, name, length)) return NULL;
    if (argument[length] == '=') return argument + length + 1;
    if (argument[length] || *at + 1 >= count) return NULL;
    return arguments[++*at];
}

static bool read_argument(struct request *out, int *at, int count, char **arguments) {
    const struct { const char *name; const char **value; } options[] = {
        {"-i", &out->ids}, {"--id", &out->ids}, {"--query-gpu", &out->query}, {"--format", &out->format},
        {"-pm", &out->persistence}, {"--persistence-mode", &out->persistence}, {"-c", &out->compute},
        {"--compute-mode", &out->compute}, {"-pl", &out->power}, {"--power-limit", &out->power},
        {"--set-timeslice", &out->slice},
    };
    const struct { const char *name; bool *flag; } flags[] = {
        {"-L", &out->list}, {"--list-gpus", &out->list}, {"--version", &out->version}, {"-h", &out->help},
        {"--help", &out->help}, {"--help-query-gpu", &out->help_query}, {"compute-policy", &out->policy},
    };
    for (size_t index = 0; index < sizeof flags / sizeof *flags; index++)
        if (!strcmp(arguments[*at], flags[index].name)) return *flags[index].flag = true;
    for (size_t index = 0; index < sizeof options / sizeof *options; index++) {
        const char *value = value_of(at, count, arguments, options[index].name);
        if (value) return (*options[index].value = value) != NULL;
    }
    return false;
}

static int serve(const struct request *asked) {
    if (asked->version) return show_version();
    int failed = choose(asked->ids);
    if (failed) return failed;
    if (asked->persistence) return set_persistence(asked->persistence);
    if (asked->compute) return set_compute(asked->compute);
    if (asked->power) return set_power(asked->power);
    if (asked->policy) return set_slice(asked->slice);
    if (asked->list) return list_gpus();
    return asked->query ? query(asked->query, asked->format) : show_table();
}

int main(int count, char **arguments) {
    struct request asked = {0};
    for (int at = 1; at < count; at++)
        if (!read_argument(&asked, &at, count, arguments)) {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"
                   "(not understood: %s)\n", arguments[at]);
            return 2;
        }
    if (asked.help) return usage(stdout);
    if (asked.help_query) return list_fields();
    int result = start_nvml();
    if (result) return result;
    result = serve(&asked);
    nvml.stop();
    return fflush(stdout) ? 1 : result;
}
