/* MIG: what is read from the page. Everything else about instances is the node's to answer. */

PAIR(nvmlDeviceGetMigMode, mig_current, mig_pending)
CONSTANT(nvmlDeviceIsMigDeviceHandle, 0)

/* The GPU of a MIG device that exists: the page has one byte per GPU instance, one bit per compute instance. */
static int open_parent(void **device) {
    const struct cw_gpu *page;
    ENTER();
    NEED(slot_of(*device) >= CW_MIG_DEVICES && slot_of(*device) < CW_GPU_INSTANCES);
    uint32_t place = slot_of(*device) - CW_MIG_DEVICES, live;
    void *parent = &devices[place / (CW_INSTANCES * CW_COMPUTE_INSTANCES)];
    int result = open_page(parent, &page);
    if (result != SUCCESS) return result;
    uint32_t instance = place / CW_COMPUTE_INSTANCES % CW_INSTANCES;
    CONSISTENTLY(page, live = page->mig_devices[instance]);
    NEED(live >> place % CW_COMPUTE_INSTANCES & 1);
    *device = parent;
    return SUCCESS;
}

/* A MIG device answers these as its GPU. */
#define INHERITED(name, parameters, arguments)                          \
    static int body_##name parameters {                                 \
        int result_ = UNLIKELY(is_instance(device)) ? open_parent(&device) : SUCCESS; \
        return LIKELY(result_ == SUCCESS) ? hot_##name arguments : result_;           \
    }

/* A UUID that is no GPU's may be a MIG device's; one whose GPU this process may not open stays unknown to it. */
static int seen(int result, void *const *device) {
    if (result != SUCCESS) return result;
    void *parent = *device;
    result = open_parent(&parent);
    return result != SUCCESS ? result : is_listed(slot_of(parent)) ? SUCCESS : NOT_FOUND;
}
