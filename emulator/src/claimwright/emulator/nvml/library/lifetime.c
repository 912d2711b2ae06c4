/* Initialisation, counted; which GPUs this process may see; error texts. */

/* GPUs that change their driver get or lose their device node: look again when the node says that it happened. */
static void refresh_visibility(void) {
    if (UNLIKELY(load(&header()->topology_generation) != atomic_load(&node.seen) >> 32)) look_at_device_nodes();
}

static bool is_listed(uint32_t slot) {
    return (uint32_t)atomic_load_explicit(&node.seen, memory_order_relaxed) >> slot & load(&page_at(slot)->flags) & CW_LISTED;
}

static uint32_t count_listed(void) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < header()->gpu_count; slot++) count += is_listed(slot);
    return count;
}

static void *handle_at(uint32_t slot) { return &devices[slot]; }

enum { NO_GPUS = 1, NO_ATTACH = 2, FORCE_INIT = 4 };

/* Every lock, in the order in which they are taken: a child that is forked while another thread holds one of them would
 * wait for ever. */
static pthread_mutex_t *const locks[] = {&connection_lock, &events_lock, &gpm_lock};

static void before_fork(void) {
    for (size_t index = 0; index < COUNT_OF(locks); index++) pthread_mutex_lock(locks[index]);
}

static void after_fork(void) {
    for (size_t index = COUNT_OF(locks); index > 0; index--) pthread_mutex_unlock(locks[index - 1]);
}

/* With the lock held, for the first reference. */
static int start(unsigned flags) {
    static bool fork_handled;
    if (!fork_handled) fork_handled = !pthread_atfork(before_fork, after_fork, after_fork);
    find_driver_root();
    drop_connections(); /* of a node before this one */
    bool first = !atomic_load(&node.pages); /* later ones are looked at before this is called */
    int stream, result = make_connection(&stream);
    if (result != SUCCESS) return result;
    idle[idle_count++] = stream;
    if (node_is_dead()) result = DRIVER_NOT_LOADED;
    if (result == SUCCESS && load(&header()->library_mismatch)) result = LIB_RM_VERSION_MISMATCH;
    if (result == SUCCESS && first) result = suffer(CODE_nvmlInit_v2, NULL);
    if (result == SUCCESS) look_at_device_nodes();
    if (result == SUCCESS && !(flags & NO_GPUS) && !count_listed()) result = GPU_NOT_FOUND;
    if (result != SUCCESS) drop_connections();
    return result;
}

static int initialise(unsigned flags) {
    pthread_mutex_lock(&connection_lock);
    int references = atomic_load(&node.references);
    int result = SUCCESS;
    if (!references)
        result = start(flags);
    else if (node_is_dead())
        result = DRIVER_NOT_LOADED;
    else
        look_at_device_nodes();
    if (result == SUCCESS) atomic_store(&node.references, references + 1);
    pthread_mutex_unlock(&connection_lock);
    return result;
}

API(nvmlInit_v2)(void) { return initialise(0); }
ALIAS(nvmlInit, nvmlInit_v2);

API(nvmlInitWithFlags)(unsigned flags) {
    NEED(!(flags & ~(unsigned)(NO_GPUS | NO_ATTACH | FORCE_INIT)));
    return initialise(flags);
}

API(nvmlShutdown)(void) {
    pthread_mutex_lock(&connection_lock);
    int references = atomic_load(&node.references);
    if (references) atomic_store(&node.references, references - 1);
    if (references == 1) {
        drop_connections();
        forget_event_sets();
    }
    pthread_mutex_unlock(&connection_lock);
    return references ? SUCCESS : UNINITIALIZED;
}

TEXT_API(nvmlErrorString)(int result) {
    static const char *const texts[] = {
        "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
        "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power", "Driver Not Loaded",
        "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found", "Function Not Found",
        "Corrupted infoROM", "GPU is lost", "GPU requires reset", "GPU access blocked by the operating system",
        "Driver/library version mismatch", "In use by another client", "Insufficient Memory", "No data",
        "vGPU operation not supported because ECC is enabled", "Insufficient Resources",
        "Requested frequency not supported", "Argument version mismatch", "Deprecated", "System is not ready",
        "No GPUs were found", "Invalid state", "Reset type not supported",
    };
    return (unsigned)result < COUNT_OF(texts) ? texts[result] : "Unknown Error";
}
