/* The way to the node process: find its socket, receive the read-only pages, send commands. */

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_FOLDER "/run/nvidia-persistenced"
#define SOCKET_NAME "socket"
#define PATHS 4096

/* How long an answer may take. A slow driver answers late (a lookup by UUID has been seen to take 10 s under load), and
 * a node imitates that; one that does not answer at all within this time is TIMEOUT. */
enum { ANSWER_SECONDS = 30 };

/* Guards what follows, and init and shutdown. */
static pthread_mutex_t connection_lock = PTHREAD_MUTEX_INITIALIZER;
static char driver_root[PATHS];
static dev_t mapped_device;
static ino_t mapped_inode;

static int find_self(struct dl_phdr_info *info, size_t size, void *path) {
    (void)size;
    for (int index = 0; index < info->dlpi_phnum; index++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[index];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && (uintptr_t)&node - start < segment->p_memsz) {
            snprintf(path, PATHS, "%s", info->dlpi_name);
            return 1;
        }
    }
    return 0;
}

/* The driver root is what stands before the library folder; "" inside a container and where the place is unusual.
 * dl_iterate_phdr answers what dladdr would, and exists in every glibc under one version. */
static void find_driver_root(void) {
    static const char *const folders[] = {
        "/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/", "/lib/x86_64-linux-gnu/", "/usr/lib64/nvidia/",
        "/usr/lib/nvidia/", "/usr/lib64/", "/usr/lib32/", "/usr/lib/", "/lib64/",
    };
    char path[PATHS] = "", absolute[2 * PATHS];
    dl_iterate_phdr(find_self, path);
    driver_root[0] = 0;
    if (path[0] != '/') {
        char folder[PATHS];
        snprintf(absolute, sizeof absolute, "%s/%s", getcwd(folder, sizeof folder) ? folder : "", path);
    } else {
        snprintf(absolute, sizeof absolute, "%s", path);
    }
    char *name = strrchr(absolute, '/');
    if (!name) return;
    *name = 0;
    char plain[PATHS];
    if (strstr(absolute, "/.") && realpath(absolute, plain)) snprintf(absolute, sizeof absolute, "%s", plain);
    strcat(absolute, "/"); /* it was there before */
    for (size_t index = 0; index < COUNT_OF(folders); index++) {
        size_t have = strlen(absolute), need = strlen(folders[index]);
        if (have >= need && have - need < sizeof driver_root && !strcmp(absolute + have - need, folders[index])) {
            memcpy(driver_root, absolute, have - need);
            driver_root[have - need] = 0;
            return;
        }
    }
}

/* A socket address holds 108 bytes only; a long driver root is reached through the descriptor of its folder. */
static int connect_to_node(void) {
    char folder[PATHS + 64];
    snprintf(folder, sizeof folder, "%s" SOCKET_FOLDER, driver_root);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int directory = -1;
    if (strlen(folder) + sizeof SOCKET_NAME < sizeof address.sun_path) {
        int printed = snprintf(address.sun_path, sizeof address.sun_path, "%.100s/" SOCKET_NAME, folder);
        (void)printed;
    } else {
        directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0) return -1;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, directory);
    }
    int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    if (made >= 0) {
        setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(made, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(made, (struct sockaddr *)&address, sizeof address)) {
            int reason = errno;
            close(made);
            errno = reason;
            made = -1;
        }
    }
    int reason = errno;
    if (directory >= 0) close(directory);
    errno = reason;
    return made;
}

/* The node's first message carries the descriptor of the pages. */
static int receive_greeting(int from, struct cw_greeting *greeting) {
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec body = {.iov_base = greeting, .iov_len = sizeof *greeting};
    struct msghdr message = {
        .msg_iov = &body, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    int pages = -1;
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    if (got >= 0 && part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS)
        memcpy(&pages, CMSG_DATA(part), sizeof pages);
    if (got == (ssize_t)sizeof *greeting && greeting->magic == CW_MAGIC) return pages;
    if (pages >= 0) close(pages);
    return -1;
}

static int map_pages(int pages, size_t bytes) {
    struct stat about;
    /* The plain call: glibc gave fstat a new version in 2.33, and containers may have an older one. */
    if (syscall(SYS_fstat, pages, &about) || (size_t)about.st_size < bytes) return DRIVER_NOT_LOADED;
    if (about.st_dev == mapped_device && about.st_ino == mapped_inode) return SUCCESS;
    uint8_t *mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED, pages, 0);
    if (mapped == MAP_FAILED) return MEMORY;
    /* An older mapping stays: readers in other threads may be in it, and a node restarts rarely. */
    atomic_store(&node.pages, mapped);
    mapped_device = about.st_dev;
    mapped_inode = about.st_ino;
    return SUCCESS;
}

static int accept_greeting(int made) {
    struct cw_greeting greeting;
    int pages = receive_greeting(made, &greeting);
    if (pages < 0) return DRIVER_NOT_LOADED;
    size_t expected = CW_HEADER_BYTES + (size_t)CW_CAPACITY * CW_PAGE_BYTES;
    int result = greeting.abi != CW_ABI || greeting.calls != CW_CALLS || greeting.bytes != expected ? LIB_RM_VERSION_MISMATCH : SUCCESS;
    if (result == SUCCESS) result = map_pages(pages, expected);
    close(pages);
    return result;
}

/* Idle connections. A call takes one out, so that threads do not wait for each other's answers. */
enum { IDLE_CONNECTIONS = 8 };
static int idle[IDLE_CONNECTIONS];
static int idle_count;
static pid_t idle_owner;

/* With the lock held. In a child of fork these are the parent's streams: shared, replies would mix. */
static void drop_connections(void) {
    while (idle_count) close(idle[--idle_count]);
    idle_owner = getpid();
}

static int make_connection(int *out) {
    int made = connect_to_node();
    if (made < 0) return errno == EACCES || errno == EPERM ? NO_PERMISSION : DRIVER_NOT_LOADED;
    int result = accept_greeting(made);
    if (result != SUCCESS)
        close(made);
    else
        *out = made;
    return result;
}

/* With the lock held: a connection to the node whose pages are mapped, and to no successor of it. */
static int take_connection(int *out) {
    if (idle_owner != getpid()) drop_connections();
    if (idle_count) {
        *out = idle[--idle_count];
        return SUCCESS;
    }
    dev_t device = mapped_device;
    ino_t inode = mapped_inode;
    if (make_connection(out) != SUCCESS) return GPU_IS_LOST;
    if (device == mapped_device && inode == mapped_inode) return SUCCESS;
    close(*out);
    return GPU_IS_LOST;
}

static void keep_connection(int stream) {
    pthread_mutex_lock(&connection_lock);
    bool keep = idle_count < IDLE_CONNECTIONS && idle_owner == getpid() && atomic_load(&node.references);
    if (keep) idle[idle_count++] = stream;
    pthread_mutex_unlock(&connection_lock);
    if (!keep) close(stream);
}

static int exchange(int stream, const void *request, size_t bytes, void *reply, size_t room, size_t *got) {
    ssize_t moved;
    do moved = send(stream, request, bytes, MSG_NOSIGNAL);
    while (moved < 0 && errno == EINTR);
    if (moved != (ssize_t)bytes) return errno == EAGAIN || errno == EWOULDBLOCK ? TIMEOUT : GPU_IS_LOST;
    do moved = recv(stream, reply, room, 0);
    while (moved < 0 && errno == EINTR);
    if (moved < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return TIMEOUT;
    if (moved < (ssize_t)sizeof(struct cw_reply) || ((struct cw_reply *)reply)->magic != CW_MAGIC) return GPU_IS_LOST;
    *got = (size_t)moved;
    return SUCCESS;
}

/* One packet there, one back. A connection that failed is closed: a late reply would be taken for the next one's. */
static int converse(const void *request, size_t bytes, void *reply, size_t room, size_t *got) {
    int stream = -1;
    pthread_mutex_lock(&connection_lock);
    int result = node_is_dead() ? GPU_IS_LOST : take_connection(&stream);
    pthread_mutex_unlock(&connection_lock);
    if (result != SUCCESS) return result;
    result = exchange(stream, request, bytes, reply, room, got);
    if (result == SUCCESS)
        keep_connection(stream);
    else
        close(stream);
    return result;
}

static int command(uint32_t operation, uint32_t slot, const uint64_t *arguments, size_t count) {
    struct cw_request request = {.magic = CW_MAGIC, .operation = operation, .slot = slot};
    struct cw_reply reply;
    size_t got;
    memcpy(request.arguments, arguments, count * sizeof *arguments);
    int result = converse(&request, sizeof request, &reply, sizeof reply, &got);
    return result == SUCCESS ? reply.result : result;
}

static uint32_t await_writer(const struct cw_gpu *page) {
    for (;;) {
        uint32_t sequence = atomic_load_explicit((_Atomic const uint32_t *)&page->sequence, memory_order_acquire);
        /* A writer that died in the middle leaves the number odd for ever; finish() then reports it. */
        if (!(sequence & 1) || node_is_dead()) return sequence;
        sched_yield();
    }
}
