/* fmpm of an emulated node: lists, activates and deactivates fabric partitions, as the fabric manager's sample tool does. */

#include "nvfm.c"

#include <getopt.h>

static struct partition_list list;

static void print_list(void) {
    printf("{\n   \"maxNumPartitions\" : %u,\n   \"numPartitions\" : %u,\n   \"partitionInfo\" : [", list.most, list.count);
    for (unsigned at = 0; at < list.count; at++) {
        const struct partition *one = &list.partitions[at];
        printf("%s\n      {\n         \"gpuInfo\" : [", at ? "," : "");
        for (unsigned gpu = 0; gpu < one->count; gpu++) {
            const struct partition_gpu *in = &one->gpus[gpu];
            printf("%s\n            {\n               \"maxNumNvLinks\" : %u,\n               \"numNvLinksAvailable\" : %u,\n"
                   "               \"nvlinkLineRateMBps\" : %u,\n               \"pciBusId\" : \"%s\",\n"
                   "               \"physicalId\" : %u,\n               \"uuid\" : \"%s\"\n            }",
                   gpu ? "," : "", in->links_most, in->links_available, in->line_rate_mbps, in->pci, in->physical_id, in->uuid);
        }
        printf("\n         ],\n         \"isActive\" : %u,\n         \"numGpus\" : %u,\n         \"partitionId\" : %u\n      }",
               one->active, one->count, one->id);
    }
    printf("\n   ],\n   \"version\" : %u\n}\n", list.version);
}

static int fail(const char *what, int result) {
    fprintf(stderr, "Failed to %s. fmReturn: %d\n", what, result);
    return 1;
}

static int usage(int status) {
    fputs("Usage: fmpm [--unix-domain-socket PATH] -l | -a ID | -d ID\n", status ? stderr : stdout);
    return status;
}

/* The socket beside this program's driver root, "/run/…" inside a container. */
static void find_socket(char *path, size_t room) {
    char self[4096] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *folder = length > 0 ? strstr(self, "/usr/bin/fmpm") : NULL;
    if (folder) *folder = 0;
    else self[0] = 0;
    snprintf(path, room, "%.200s/run/nvidia-fabricmanager/socket", self);
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"list", 0, NULL, 'l'}, {"query", 0, NULL, 'l'}, {"activate-partition", 1, NULL, 'a'},
        {"deactivate-partition", 1, NULL, 'd'}, {"unix-domain-socket", 1, NULL, 'u'}, {"help", 0, NULL, 'h'}, {0}};
    struct connect_v2 params = {.head = {.version = VERSION(struct connect_v2, 2), .is_unix = 1}, .kind = ADDRESS_UNIX};
    find_socket(params.head.address, sizeof params.head.address);
    int asked = 0;
    unsigned id = 0;
    for (int option; (option = getopt_long(count, arguments, "lqa:d:h", options, NULL)) != -1;) {
        if (option == 'u') snprintf(params.head.address, sizeof params.head.address, "%s", optarg);
        else if (option == 'h' || option == '?') return usage(option != 'h');
        else asked = option == 'q' ? 'l' : option;
        if (option == 'a' || option == 'd') {
            char *end;
            id = (unsigned)strtoul(optarg, &end, 10);
            if (*end || end == optarg) return usage(1);
        }
    }
    if (!asked) return usage(1);
    void *handle;
    int result = fmLibInit();
    if (!result) result = fmConnect(&params, &handle);
    if (result) return fail("connect to the fabric manager", result);
    list.version = VERSION(struct partition_list, 1);
    if (asked == 'a') result = fmActivateFabricPartition(handle, id);
    else if (asked == 'd') result = fmDeactivateFabricPartition(handle, id);
    else result = fmGetSupportedFabricPartitions(handle, &list);
    if (result) return fail(asked == 'l' ? "list partitions" : asked == 'a' ? "activate" : "deactivate", result);
    if (asked == 'l') print_list();
    fmDisconnect(handle);
    return fmLibShutdown();
}
