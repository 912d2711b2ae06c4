/* What the daemon asks the driver: its version, and where this node stands in the NVLink fabric. The node's shared pages
 * say it; a static program cannot load the NVML library, and a chroot may lack the C library that this would need. */
#pragma once

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "../../../nvml/library/_generated/pages.h"
#include "nodes.h"

enum { NO_FABRIC = 0xffffffff, COMPLETED = 3, READ_TRIES = 1 << 16, MANAGEMENT_MINOR = 4323 /* kernel default */ };

static struct {
    int stream;
    const uint8_t *pages;
} driver = {.stream = -1};

static int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[PATHS];
    int directory = -1;
    if (strlen(path) < sizeof address.sun_path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
    } else { /* an address holds 108 bytes: go through the folder */
        const char *name = strrchr(path, '/') + 1;
        copy_text(folder, sizeof folder, path);
        folder[name - path] = 0;
        directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0 || strlen(name) > 60) return -1;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.60s", directory, name);
    }
    int kinds[] = {SOCK_SEQPACKET, SOCK_STREAM}, stream = -1;
    for (int at = 0; at < 2 && stream < 0; at++) {
        stream = socket(AF_UNIX, kinds[at] | SOCK_CLOEXEC, 0);
        if (stream >= 0 && connect(stream, (struct sockaddr *)&address, sizeof address)) close(stream), stream = -1;
    }
    if (directory >= 0) close(directory);
    return stream;
}

static bool receive_pages(int stream) {
    struct cw_greeting greeting;
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec body = {&greeting, sizeof greeting};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct timeval limit = {.tv_sec = 10};
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ssize_t got = recvmsg(stream, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *part = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (!part || part->cmsg_type != SCM_RIGHTS) return false;
    int pages;
    memcpy(&pages, CMSG_DATA(part), sizeof pages);
    bool good = got == (ssize_t)sizeof greeting && greeting.magic == CW_MAGIC && greeting.abi == CW_ABI;
    void *mapped = good ? mmap(NULL, greeting.bytes, PROT_READ, MAP_SHARED, pages, 0) : MAP_FAILED;
    close(pages);
    if (mapped == MAP_FAILED) return false;
    driver.pages = mapped;
    return true;
}

static bool open_driver(const char *root) {
    char path[PATHS];
    snprintf(path, sizeof path, "%.4000s/run/nvidia-persistenced/socket", root);
    driver.stream = connect_unix(path);
    if (driver.stream >= 0 && !receive_pages(driver.stream)) close(driver.stream), driver.stream = -1;
    return driver.stream >= 0;
}

static bool driver_is_gone(void) {
    char byte;
    ssize_t got = recv(driver.stream, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return !got || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static const char *driver_version(void) { return ((const struct cw_header *)driver.pages)->driver_version; }

struct fabric {
    uint32_t clique;
    uint8_t cluster[16];
    bool any, complete;
};

static bool read_gpu(const struct cw_gpu *page, uint32_t *state, struct fabric *out) {
    for (int tries = 0; tries < READ_TRIES; tries++) {
        uint32_t before = atomic_load_explicit((_Atomic const uint32_t *)&page->sequence, memory_order_acquire);
        bool listed = (page->flags & (CW_LISTED | CW_LOST)) == CW_LISTED;
        *state = page->fabric_state;
        out->clique = page->fabric_clique;
        memcpy(out->cluster, page->fabric_uuid, sizeof out->cluster);
        out->complete = *state == COMPLETED && !page->fabric_status;
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && page->sequence == before) return listed && *state != NO_FABRIC;
    }
    return false; /* its writer died in the middle */
}

/* Where this node stands: the first GPU's clique, and whether the set-up of all of them is complete. */
static struct fabric read_fabric(void) {
    struct fabric found = {.complete = true};
    uint32_t count = ((const struct cw_header *)driver.pages)->gpu_count;
    for (uint32_t slot = 0; slot < count && slot < CW_CAPACITY; slot++) {
        const struct cw_gpu *page = (const struct cw_gpu *)(driver.pages + CW_HEADER_BYTES + (size_t)slot * CW_PAGE_BYTES);
        struct fabric one = {0};
        uint32_t state;
        if (!read_gpu(page, &state, &one)) continue;
        one.complete &= found.complete;
        if (found.any) found.complete = one.complete;
        else one.any = true, found = one;
    }
    found.complete &= found.any;
    return found;
}

static int management_minor(void) {
    FILE *file = fopen("/proc/driver/nvidia/capabilities/fabric-imex-mgmt", "re");
    int minor = MANAGEMENT_MINOR;
    if (file) {
        if (fscanf(file, "DeviceFileMinor: %d", &minor) != 1) minor = MANAGEMENT_MINOR;
        fclose(file);
    }
    return minor;
}

/* The kernel hands exports to whoever may open this capability; ENXIO is an emulated node's own answer to an open. */
static void need_capability(const char *root) {
    char path[PATHS];
    snprintf(path, sizeof path, "%.4000s/dev/nvidiactl", root);
    const char *place = access(path, F_OK) ? "" : root;
    snprintf(path, sizeof path, "%.4000s/dev/nvidia-caps/nvidia-cap%d", place, management_minor());
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0 && errno != ENXIO) DIE("cannot open the IMEX capability %s: %s", path, strerror(errno));
    if (opened >= 0) close(opened);
}
