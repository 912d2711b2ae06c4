/* Event sets. Each has a connection of its own: its queue is the socket's, and a waiter sleeps in the kernel. */

#include <limits.h>
#include <poll.h>
#include <time.h>

enum { EVENT_SETS = 512 };
enum { ALL_EVENTS = 0xff9f };

struct event_set {
    bool used;
    int socket;
    int waiters;
    bool freed;
    bool told_of_loss;
    uint32_t gpus; /* that it registered for, one bit each */
    pid_t owner;
    uint64_t connection;
};
static struct event_set event_sets[EVENT_SETS];
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER; /* after connection_lock where both are held */

/* With the lock held. A set made before fork stays its parent's: two readers would share one queue. */
static struct event_set *find_set(const void *set) {
    uintptr_t offset = (uintptr_t)set - (uintptr_t)event_sets;
    if (offset >= sizeof event_sets || offset % sizeof *event_sets) return NULL;
    struct event_set *found = &event_sets[offset / sizeof *event_sets];
    return found->used && !found->freed && found->owner == getpid() ? found : NULL;
}

static bool is_event_set(const void *set) {
    pthread_mutex_lock(&events_lock);
    bool found = find_set(set);
    pthread_mutex_unlock(&events_lock);
    return found;
}

static void release_if_unused(struct event_set *set) {
    if (!set->freed || set->waiters) return;
    close(set->socket);
    *set = (struct event_set){0};
}

static int open_event_connection(uint64_t *id) {
    int made = connect_to_node();
    if (made < 0) return -1;
    struct cw_greeting greeting;
    int pages = receive_greeting(made, &greeting);
    if (pages >= 0) close(pages);
    if (pages < 0 || greeting.abi != CW_ABI || greeting.calls != CW_CALLS) {
        close(made);
        return -1;
    }
    *id = greeting.connection;
    return made;
}

API(nvmlEventSetCreate)(void **out) {
    ENTER();
    NEED(out);
    if (node_is_dead()) return GPU_IS_LOST;
    uint64_t id = 0;
    int made = open_event_connection(&id);
    if (made < 0) return errno == EMFILE || errno == ENFILE ? INSUFFICIENT_RESOURCES : GPU_IS_LOST;
    pthread_mutex_lock(&events_lock);
    int result = INSUFFICIENT_RESOURCES;
    for (size_t index = 0; index < EVENT_SETS && result != SUCCESS; index++) {
        if (event_sets[index].used) continue;
        event_sets[index] = (struct event_set){.used = true, .socket = made, .owner = getpid(), .connection = id};
        *out = &event_sets[index];
        result = SUCCESS;
    }
    pthread_mutex_unlock(&events_lock);
    if (result != SUCCESS) close(made);
    return result;
}

API(nvmlEventSetFree)(void *set) {
    ENTER();
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    if (found) {
        found->freed = true;
        shutdown(found->socket, SHUT_RDWR); /* wakes a waiter in another thread */
        release_if_unused(found);
    }
    pthread_mutex_unlock(&events_lock);
    return found ? SUCCESS : INVALID_ARGUMENT;
}

/* The last shutdown ends every set, as closing the driver's files does. */
static void forget_event_sets(void) {
    pthread_mutex_lock(&events_lock);
    for (size_t index = 0; index < EVENT_SETS; index++) {
        struct event_set *set = &event_sets[index];
        if (!set->used || set->freed || set->owner != getpid()) continue;
        set->freed = true;
        shutdown(set->socket, SHUT_RDWR);
        release_if_unused(set);
    }
    pthread_mutex_unlock(&events_lock);
}

API(nvmlDeviceGetSupportedEventTypes)(void *device, uint64_t *out) {
    OPEN(device, page);
    NEED(out);
    CONSISTENTLY(page, *out = page->supported_events);
    return finish();
}

API(nvmlDeviceRegisterEvents)(void *device, uint64_t types, void *set) {
    uint64_t supported, arguments[2] = {0, types};
    ENTER();
    if (is_instance(device)) return NOT_SUPPORTED; /* events of instances come with those of their GPU */
    OPEN(device, page);
    NEED(!(types & ~(uint64_t)ALL_EVENTS));
    CONSISTENTLY(page, supported = page->supported_events);
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    if (found) arguments[0] = found->connection;
    pthread_mutex_unlock(&events_lock);
    NEED(found);
    if (types & ~supported) return NOT_SUPPORTED;
    int result = command(CW_REGISTER_EVENTS, slot_of(device), arguments, COUNT_OF(arguments));
    pthread_mutex_lock(&events_lock);
    if (result == SUCCESS && find_set(set) == found) found->gpus |= 1u << slot_of(device);
    pthread_mutex_unlock(&events_lock);
    return result;
}

static int64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool any_is_lost(uint32_t gpus) {
    for (uint32_t slot = 0; gpus; slot++, gpus >>= 1)
        if (gpus & 1 && load(&page_at(slot)->flags) & CW_LOST) return true;
    return false;
}

/* What is queued comes first, then the loss of a GPU that the set is for: at once, and again on every call. Who asks
 * again and again is slowed down a little, as a loop without a pause would burn a core. An event of type 0 says only
 * that a GPU was lost: look again. */
static int receive_event(int from, uint32_t gpus, bool *told, int64_t deadline, struct cw_event *event) {
    enum { LOSS_PAUSE_MS = 20 };
    for (;;) {
        int64_t left = deadline - monotonic_ms(), wait = left < 0 ? 0 : left;
        bool lost = any_is_lost(gpus);
        if (lost) wait = !*told ? 0 : wait < LOSS_PAUSE_MS ? wait : LOSS_PAUSE_MS;
        struct pollfd wanted = {.fd = from, .events = POLLIN};
        int ready = poll(&wanted, 1, wait > INT_MAX ? INT_MAX : (int)wait);
        ssize_t got = ready > 0 ? recv(from, event, sizeof *event, MSG_DONTWAIT) : -1;
        if (got == (ssize_t)sizeof *event && event->magic == CW_MAGIC) {
            if (event->type) return SUCCESS;
            continue;
        }
        if (got >= 0 || (ready > 0 && errno != EAGAIN && errno != EINTR)) return GPU_IS_LOST; /* the node hung up */
        *told = lost;
        if (lost) return GPU_IS_LOST;
        if (left <= 0) return TIMEOUT;
    }
}

static int wait_on(void *set, struct cw_event *event, uint32_t timeout_ms) {
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    if (found) found->waiters++;
    int from = found ? found->socket : -1;
    uint32_t gpus = found ? found->gpus : 0;
    bool told = found && found->told_of_loss;
    pthread_mutex_unlock(&events_lock);
    NEED(found);
    int result = receive_event(from, gpus, &told, monotonic_ms() + timeout_ms, event);
    pthread_mutex_lock(&events_lock);
    found->told_of_loss = told;
    found->waiters--;
    if (found->freed) result = INVALID_ARGUMENT;
    release_if_unused(found);
    pthread_mutex_unlock(&events_lock);
    return result;
}

/* The bare name fills the record that it was born with, which ends before the instance ids. */
static int give_event(void *set, void *out, uint32_t timeout_ms, size_t bytes) {
    struct cw_event event;
    ENTER();
    NEED(out);
    int result = wait_on(set, &event, timeout_ms);
    if (result != SUCCESS) return result;
    if (event.slot >= CW_CAPACITY) return UNKNOWN;
    struct event_data data = {.device = handle_at(event.slot), .type = event.type, .data = event.data,
                              .gpu_instance = event.gpu_instance, .compute_instance = event.compute_instance};
    memcpy(out, &data, bytes);
    return SUCCESS;
}

API(nvmlEventSetWait_v2)(void *set, struct event_data *out, uint32_t timeout_ms) {
    return give_event(set, out, timeout_ms, sizeof *out);
}
API(nvmlEventSetWait)(void *set, struct event_data *out, uint32_t timeout_ms) {
    return give_event(set, out, timeout_ms, offsetof(struct event_data, gpu_instance));
}
