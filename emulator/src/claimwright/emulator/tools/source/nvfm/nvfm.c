/* libnvfm.so of an emulated node: the fabric manager's client interface (nv_fm_agent.h, nv_fm_types.h of the R580 SDK).
 * It speaks to the node over /run/nvidia-fabricmanager/socket in lines of text; struct layouts and return codes are the
 * interface's own. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int

enum { SUCCESS = 0, BADPARAM = -1, GENERIC_ERROR = -2, UNINITIALIZED = -4, TIMEOUT = -5, VERSION_MISMATCH = -6,
       CONNECTION_NOT_VALID = -9 };
enum { MOST_GPUS = 16, MOST_PARTITIONS = 64, MOST_PORTS = 64, MOST_SWITCHES = 12, ADDRESS_UNIX = 2, MOST_CONNECTIONS = 64,
       DEFAULT_MS = 5000 };

#define VERSION(type, number) ((unsigned)(sizeof(type) | (unsigned)(number) << 24))

struct connect_v1 {
    unsigned version;
    char address[256];
    unsigned timeout_ms, is_unix;
};
struct connect_v2 {
    struct connect_v1 head;
    int kind;
};
struct partition_gpu {
    unsigned physical_id;
    char uuid[80], pci[32];
    unsigned links_available, links_most, line_rate_mbps;
};
struct partition {
    unsigned id, active, count;
    struct partition_gpu gpus[MOST_GPUS];
};
struct partition_list {
    unsigned version, count, most;
    struct partition partitions[MOST_PARTITIONS];
};
_Static_assert(sizeof(struct partition_list) == 131852, "fmFabricPartitionList_v2");
struct active_list {
    unsigned version, count, ids[MOST_PARTITIONS];
};
struct failed_device {
    char uuid[80], pci[32];
    unsigned count, ports[MOST_PORTS];
};
struct failed_list {
    unsigned version, gpu_count, switch_count;
    struct failed_device gpus[MOST_GPUS], switches[MOST_SWITCHES];
};
struct unsupported_list {
    unsigned version, count;
    struct {
        unsigned id, count, physical_ids[MOST_GPUS];
    } partitions[MOST_PARTITIONS];
};

/* A handle is the address of a slot; a slot is free while its stream is -1. */
static struct connection {
    int stream;
} connections[MOST_CONNECTIONS];
static int initialized;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct connection *connection_of(void *handle) {
    uintptr_t at = (uintptr_t)handle - (uintptr_t)connections;
    if (at >= sizeof connections || at % sizeof *connections) return NULL;
    return ((struct connection *)handle)->stream < 0 ? NULL : handle;
}

static int reach(const char *path, unsigned timeout_ms) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    const char *name = strrchr(path, '/');
    int folder = -1;
    if (strlen(path) < sizeof address.sun_path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
    } else { /* an address holds 108 bytes: go through the folder */
        char parent[256];
        snprintf(parent, sizeof parent, "%.*s", (int)(name - path), path);
        folder = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.60s", folder, name + 1);
    }
    int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(stream, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(stream, (struct sockaddr *)&address, sizeof address)) close(stream), stream = -1;
    if (folder >= 0) close(folder);
    return stream;
}

/* One request, one answer: lines up to an empty one, of which the first is a return code. */
static int ask(void *handle, FILE **answer, const char *format, ...) {
    va_list given;
    char request[1024];
    struct connection *connection = connection_of(handle);
    if (!initialized) return UNINITIALIZED;
    if (!connection) return BADPARAM;
    va_start(given, format);
    int length = vsnprintf(request, sizeof request, format, given);
    va_end(given);
    if (send(connection->stream, request, (size_t)length, MSG_NOSIGNAL) != length) return CONNECTION_NOT_VALID;
    size_t used = 0, room = 1 << 18;
    char *text = malloc(room);
    while (text && (used < 2 || memcmp(text + used - 2, "\n\n", 2))) {
        ssize_t got = recv(connection->stream, text + used, room - used, 0);
        if (got <= 0 || used + (size_t)got == room) {
            free(text);
            return got < 0 && errno == EAGAIN ? TIMEOUT : CONNECTION_NOT_VALID;
        }
        used += (size_t)got;
    }
    if (!text) return GENERIC_ERROR;
    int result = atoi(text);
    *answer = fmemopen(NULL, used, "w+");
    if (*answer && fwrite(text, 1, used, *answer) == used) rewind(*answer), (void)fscanf(*answer, "%*[^\n]");
    free(text);
    return *answer ? result : GENERIC_ERROR;
}

static int ask_plainly(void *handle, const char *request, unsigned number) {
    FILE *answer = NULL;
    pthread_mutex_lock(&lock);
    int result = ask(handle, &answer, "%s %u\n", request, number);
    pthread_mutex_unlock(&lock);
    if (answer) fclose(answer);
    return result;
}

API fmLibInit(void) {
    pthread_mutex_lock(&lock);
    for (int at = 0; !initialized && at < MOST_CONNECTIONS; at++) connections[at].stream = -1;
    initialized = 1;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

API fmLibShutdown(void) {
    pthread_mutex_lock(&lock);
    int result = initialized ? SUCCESS : UNINITIALIZED;
    for (int at = 0; initialized && at < MOST_CONNECTIONS; at++)
        if (connections[at].stream >= 0) close(connections[at].stream), connections[at].stream = -1;
    initialized = 0;
    pthread_mutex_unlock(&lock);
    return result;
}

API fmConnect(struct connect_v2 *params, void **handle) {
    if (!initialized) return UNINITIALIZED;
    if (!params || !handle) return BADPARAM;
    const struct connect_v1 *head = &params->head;
    if (head->version != VERSION(struct connect_v1, 1) && head->version != VERSION(struct connect_v2, 2))
        return VERSION_MISMATCH;
    int is_unix = head->version == VERSION(struct connect_v1, 1) ? (int)head->is_unix
                                                                 : params->kind == ADDRESS_UNIX || head->is_unix;
    if (!memchr(head->address, 0, sizeof head->address)) return BADPARAM;
    if (!is_unix || !strchr(head->address, '/')) return CONNECTION_NOT_VALID; /* the node listens on its socket only */
    int stream = reach(head->address, head->timeout_ms ? head->timeout_ms : DEFAULT_MS), result = GENERIC_ERROR;
    if (stream < 0) return CONNECTION_NOT_VALID;
    pthread_mutex_lock(&lock);
    for (int at = 0; result && at < MOST_CONNECTIONS; at++)
        if (connections[at].stream < 0) {
            connections[at].stream = stream;
            *handle = &connections[at];
            result = SUCCESS;
        }
    pthread_mutex_unlock(&lock);
    if (result) close(stream);
    return result;
}

API fmDisconnect(void *handle) {
    if (!initialized) return UNINITIALIZED;
    pthread_mutex_lock(&lock);
    struct connection *connection = connection_of(handle);
    if (connection) close(connection->stream), connection->stream = -1;
    pthread_mutex_unlock(&lock);
    return connection ? SUCCESS : BADPARAM;
}

static void read_partitions(FILE *from, struct partition_list *out) {
    struct partition one;
    while (out->count < MOST_PARTITIONS && fscanf(from, " partition %u %u %u", &one.id, &one.active, &one.count) == 3) {
        struct partition *to = &out->partitions[out->count++];
        to->id = one.id, to->active = one.active;
        for (unsigned at = 0; at < one.count && at < MOST_GPUS; at++) {
            struct partition_gpu *gpu = &to->gpus[to->count++];
            if (fscanf(from, " gpu %u %79s %31s %u %u %u", &gpu->physical_id, gpu->uuid, gpu->pci, &gpu->links_available,
                       &gpu->links_most, &gpu->line_rate_mbps) != 6)
                return;
            if (!strcmp(gpu->uuid, "-")) gpu->uuid[0] = 0;
        }
    }
}

API fmGetSupportedFabricPartitions(void *handle, struct partition_list *list) {
    FILE *answer = NULL;
    if (!initialized) return UNINITIALIZED;
    if (!list) return BADPARAM;
    if (list->version != VERSION(struct partition_list, 1)) return VERSION_MISMATCH;
    pthread_mutex_lock(&lock);
    int result = ask(handle, &answer, "list\n");
    pthread_mutex_unlock(&lock);
    if (result == SUCCESS) {
        memset(&list->count, 0, sizeof *list - sizeof list->version);
        read_partitions(answer, list);
        list->most = list->count;
    }
    if (answer) fclose(answer);
    return result;
}

API fmActivateFabricPartition(void *handle, unsigned id) { return ask_plainly(handle, "activate", id); }
API fmDeactivateFabricPartition(void *handle, unsigned id) { return ask_plainly(handle, "deactivate", id); }

/* The virtual functions name what a guest gets; routing is by GPU alike. */
API fmActivateFabricPartitionWithVFs(void *handle, unsigned id, const void *functions, unsigned count) {
    if (!functions || !count) return BADPARAM;
    return ask_plainly(handle, "activate", id);
}

API fmSetActivatedFabricPartitions(void *handle, struct active_list *list) {
    char ids[MOST_PARTITIONS * 12] = "";
    FILE *answer = NULL;
    if (!initialized) return UNINITIALIZED;
    if (!list || list->count > MOST_PARTITIONS) return BADPARAM;
    if (list->version != VERSION(struct active_list, 1)) return VERSION_MISMATCH;
    for (unsigned at = 0, used = 0; at < list->count; at++)
        used += (unsigned)snprintf(ids + used, sizeof ids - used, " %u", list->ids[at]);
    pthread_mutex_lock(&lock);
    int result = ask(handle, &answer, "activated%s\n", ids);
    pthread_mutex_unlock(&lock);
    if (answer) fclose(answer);
    return result;
}

API fmGetNvlinkFailedDevices(void *handle, struct failed_list *list) {
    FILE *answer = NULL;
    if (!initialized) return UNINITIALIZED;
    if (!list) return BADPARAM;
    if (list->version != VERSION(struct failed_list, 1)) return VERSION_MISMATCH;
    pthread_mutex_lock(&lock);
    int result = ask(handle, &answer, "failed\n");
    pthread_mutex_unlock(&lock);
    if (result == SUCCESS) {
        struct failed_device one;
        memset(&list->gpu_count, 0, sizeof *list - sizeof list->version);
        while (list->gpu_count < MOST_GPUS && fscanf(answer, " gpu %79s %31s %u", one.uuid, one.pci, &one.count) == 3) {
            struct failed_device *to = &list->gpus[list->gpu_count++];
            unsigned port;
            memcpy(to->uuid, one.uuid, sizeof to->uuid);
            memcpy(to->pci, one.pci, sizeof to->pci);
            for (unsigned at = 0; at < one.count && fscanf(answer, "%u", &port) == 1; at++)
                if (to->count < MOST_PORTS) to->ports[to->count++] = port;
        }
    }
    if (answer) fclose(answer);
    return result;
}

/* Every partition of an emulated baseboard is supported: no link of it is missing for good. */
API fmGetUnsupportedFabricPartitions(void *handle, struct unsupported_list *list) {
    FILE *answer = NULL;
    if (!initialized) return UNINITIALIZED;
    if (!list) return BADPARAM;
    if (list->version != VERSION(struct unsupported_list, 1)) return VERSION_MISMATCH;
    pthread_mutex_lock(&lock);
    int result = ask(handle, &answer, "list\n");
    pthread_mutex_unlock(&lock);
    if (answer) fclose(answer);
    if (result == SUCCESS) memset(&list->count, 0, sizeof *list - sizeof list->version);
    return result;
}
