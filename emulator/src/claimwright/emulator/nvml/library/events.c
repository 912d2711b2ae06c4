/* Event sets. Each has a connection of its own: its queue is the socket's, and a waiter sleeps in the kernel. */

#include <limits.h>
#include <poll.h>
#include <time.h>

enum { EVENT_SETS = 512, OPERATIONAL_SUBSCRIPTIONS = 32, KEPT_EVENTS = 8 };
enum { ALL_EVENTS = 0xff9f };

/* Which operational events (operational_events.c) of a GPU a set is for. */
struct subscription {
    uint32_t slot, log_level, severity;
};

struct event_set {
    bool used, system; /* of GPUs, or of the node (system_events.c) */
    int socket;
    int waiters;
    bool freed;
    bool told_of_loss;
    uint32_t gpus; /* that it registered for, one bit each */
    uint64_t types[CW_CAPACITY];
    pid_t owner;
    uint64_t connection;
    struct subscription subscriptions[OPERATIONAL_SUBSCRIPTIONS];
    uint32_t subscription_count;
    struct cw_event kept[KEPT_EVENTS]; /* delivered as event bits, still to be delivered as operational events */
    uint32_t kept_count;
    bool answered, has_context; /* nvmlEventSetWait_v3 returned an event, with a context: its XID */
    uint32_t context_xid;
};
static struct event_set event_sets[EVENT_SETS];
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER; /* after connection_lock where both are held */

/* With the lock held. A set made before fork stays its parent's: two readers would share one queue. */
static struct event_set *find_any_set(const void *set, bool system) {
    uintptr_t offset = (uintptr_t)set - (uintptr_t)event_sets;
    if (offset >= sizeof event_sets || offset % sizeof *event_sets) return NULL;
    struct event_set *found = &event_sets[offset / sizeof *event_sets];
    return found->used && !found->freed && found->system == system && found->owner == getpid() ? found : NULL;
}

static struct event_set *find_set(const void *set) { return find_any_set(set, false); }

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

static int create_set(bool system, void **out) {
    if (node_is_dead()) return GPU_IS_LOST;
    uint64_t id = 0;
    int made = open_event_connection(&id);
    if (made < 0) return errno == EMFILE || errno == ENFILE ? INSUFFICIENT_RESOURCES : GPU_IS_LOST;
    pthread_mutex_lock(&events_lock);
    int result = INSUFFICIENT_RESOURCES;
    for (size_t index = 0; index < EVENT_SETS && result != SUCCESS; index++) {
        if (event_sets[index].used) continue;
        event_sets[index] = (struct event_set){
            .used = true, .system = system, .socket = made, .owner = getpid(), .connection = id};
        *out = &event_sets[index];
        result = SUCCESS;
    }
    pthread_mutex_unlock(&events_lock);
    if (result != SUCCESS) close(made);
    return result;
}

API(nvmlEventSetCreate)(void **out) {
    ENTER();
    NEED(out);
    return create_set(false, out);
}

static int free_set(const void *set, bool system) {
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_any_set(set, system);
    if (found) {
        found->freed = true;
        shutdown(found->socket, SHUT_RDWR); /* wakes a waiter in another thread */
        release_if_unused(found);
    }
    pthread_mutex_unlock(&events_lock);
    return found ? SUCCESS : INVALID_ARGUMENT;
}

API(nvmlEventSetFree)(void *set) {
    ENTER();
    return free_set(set, false);
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
    if (types & ~supported) {
        pthread_mutex_lock(&events_lock);
        bool known = find_set(set);
        pthread_mutex_unlock(&events_lock);
        return known ? NOT_SUPPORTED : INVALID_ARGUMENT;
    }
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    if (found) { /* before the node sends any, or a waiter would not know what it is for */
        found->gpus |= 1u << slot_of(device);
        found->types[slot_of(device)] |= types;
        arguments[0] = found->connection;
    }
    pthread_mutex_unlock(&events_lock);
    NEED(found);
    return command(CW_REGISTER_EVENTS, slot_of(device), arguments, COUNT_OF(arguments));
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

/* One event, as event bits or as an operational event. */
struct delivery {
    struct cw_event event;
    bool operational;
};

static bool subscribes(const struct event_set *set, const struct cw_event *event);

/* With the lock held: whether the set asked for what arrived, and in which form. One that it asked for in both forms
 * is delivered twice. */
static bool claim_event(struct event_set *set, bool operational_too, struct delivery *out) {
    if (out->event.slot >= CW_CAPACITY) return false;
    bool as_bits = set->types[out->event.slot] & out->event.type;
    bool as_operational = operational_too && subscribes(set, &out->event);
    if (as_bits && as_operational && set->kept_count < KEPT_EVENTS) set->kept[set->kept_count++] = out->event;
    out->operational = !as_bits && as_operational;
    return as_bits || as_operational;
}

/* With the lock held. */
static bool take_kept(struct event_set *set, struct delivery *out) {
    if (!set->kept_count) return false;
    *out = (struct delivery){.event = set->kept[0], .operational = true};
    memmove(set->kept, set->kept + 1, --set->kept_count * sizeof *set->kept);
    return true;
}

/* With the lock held, which it lets go while it sleeps. */
static int next_event(struct event_set *set, bool operational_too, int64_t deadline, struct delivery *out) {
    if (operational_too && take_kept(set, out)) return SUCCESS;
    for (;;) {
        int from = set->socket;
        uint32_t gpus = set->gpus;
        bool told = set->told_of_loss;
        pthread_mutex_unlock(&events_lock);
        int result = receive_event(from, gpus, &told, deadline, &out->event);
        pthread_mutex_lock(&events_lock);
        set->told_of_loss = told;
        if (set->freed) return INVALID_ARGUMENT;
        if (result != SUCCESS || set->system || claim_event(set, operational_too, out)) return result;
    }
}

static int wait_on(const void *set, bool operational_too, uint32_t timeout_ms, struct delivery *out) {
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    int result = INVALID_ARGUMENT;
    if (found) {
        found->waiters++;
        result = next_event(found, operational_too, monotonic_ms() + timeout_ms, out);
        if (result == SUCCESS && operational_too) {
            found->answered = true;
            found->has_context = out->operational;
            found->context_xid = (uint32_t)out->event.data;
        }
        found->waiters--;
        release_if_unused(found);
    }
    pthread_mutex_unlock(&events_lock);
    return result;
}

/* The bare name fills the record that it was born with, which ends before the instance ids. */
static int give_event(void *set, void *out, uint32_t timeout_ms, size_t bytes) {
    struct delivery got;
    ENTER();
    NEED(out);
    int result = wait_on(set, false, timeout_ms, &got);
    if (result != SUCCESS) return result;
    struct event_data data = {.device = handle_at(got.event.slot), .type = got.event.type, .data = got.event.data,
                              .gpu_instance = got.event.gpu_instance, .compute_instance = got.event.compute_instance};
    memcpy(out, &data, bytes);
    return SUCCESS;
}

API(nvmlEventSetWait_v2)(void *set, struct event_data *out, uint32_t timeout_ms) {
    return give_event(set, out, timeout_ms, sizeof *out);
}
API(nvmlEventSetWait)(void *set, struct event_data *out, uint32_t timeout_ms) {
    return give_event(set, out, timeout_ms, offsetof(struct event_data, gpu_instance));
}
