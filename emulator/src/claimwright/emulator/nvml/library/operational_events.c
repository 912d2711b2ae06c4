/* Operational events: XIDs in the structured form that nvml.h 13.5 introduced, beside event bits or instead of them.
 * What the driver knows of an event beyond its XID (module, category, group) is not modelled and stays zero. */

enum { XID_EVENT = 0x8 };
enum { CORRECTED = 20, RECOVERABLE = 30, FATAL = 40 };     /* nvmlOperationalEventSeverity_t */
enum { NOTICE = 30, WARNING = 40, ERROR = 50 };            /* nvmlGpuOperationalEventLogLevel_t */
enum { EVENT_BITS = 0, OPERATIONAL = 1, LEGACY_XID = 1 };

/* By what the XID catalogue advises: nothing to do, restart the application, or reset the GPU. */
static uint32_t severity_of(uint64_t xid) {
    switch (xid) {
        case 63: case 92: case 160: return CORRECTED;
        case 13: case 31: case 43: case 45: case 68: case 94: case 109: return RECOVERABLE;
        default: return FATAL;
    }
}

static uint32_t log_level_of(uint64_t xid) {
    uint32_t severity = severity_of(xid);
    return severity == FATAL ? ERROR : severity == RECOVERABLE ? WARNING : NOTICE;
}

static bool subscribes(const struct event_set *set, const struct cw_event *event) {
    if (event->type != XID_EVENT) return false;
    for (uint32_t index = 0; index < set->subscription_count; index++) {
        const struct subscription *one = &set->subscriptions[index];
        if (one->slot == event->slot && log_level_of(event->data) >= one->log_level && severity_of(event->data) >= one->severity)
            return true;
    }
    return false;
}

/* With the lock held. */
static int add_subscription(struct event_set *set, struct subscription wanted) {
    for (uint32_t index = 0; index < set->subscription_count; index++)
        if (!memcmp(&set->subscriptions[index], &wanted, sizeof wanted)) return SUCCESS;
    if (set->subscription_count == OPERATIONAL_SUBSCRIPTIONS) return INSUFFICIENT_RESOURCES;
    set->subscriptions[set->subscription_count++] = wanted;
    set->gpus |= 1u << wanted.slot;
    return SUCCESS;
}

API(nvmlEventSetRegisterGpuOperationalEvents_v1)(void *set, const struct operational_config *config) {
    void *device;
    ENTER();
    NEED(config && strnlen(config->uuid, sizeof config->uuid) < sizeof config->uuid);
    NEED(config->log_level <= ERROR && config->severity <= FATAL);
    int result = nvmlDeviceGetHandleByUUID((void *)config->uuid, &device);
    if (result != SUCCESS) return result == NOT_FOUND ? INVALID_ARGUMENT : result;
    if (is_instance(device)) return NOT_SUPPORTED; /* GPUs alone */
    uint64_t arguments[2] = {0, XID_EVENT};
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_set(set);
    result = INVALID_ARGUMENT;
    if (found) { /* before the node sends any */
        result = add_subscription(found, (struct subscription){slot_of(device), config->log_level, config->severity});
        arguments[0] = found->connection;
    }
    pthread_mutex_unlock(&events_lock);
    return result == SUCCESS ? command(CW_REGISTER_EVENTS, slot_of(device), arguments, COUNT_OF(arguments)) : result;
}

static struct event_v3 describe(const struct delivery *got) {
    struct event_v3 out = {.timestamp_us = now_us(), .data = got->event.data, .gpu_instance = got->event.gpu_instance,
                           .compute_instance = got->event.compute_instance};
    const struct cw_gpu *page = page_at(got->event.slot);
    CONSISTENTLY(page, memcpy(out.uuid, page->uuid, sizeof page->uuid));
    if (!got->operational) {
        out.data_type = EVENT_BITS;
        out.type = got->event.type;
        return out;
    }
    out.data_type = OPERATIONAL;
    memcpy(out.source_module, "NVRM", sizeof "NVRM");
    out.code = (uint32_t)got->event.data;
    out.severity = severity_of(got->event.data);
    out.log_level = log_level_of(got->event.data);
    out.group_size = 1;
    return out;
}

API(nvmlEventSetWait_v3)(void *set, struct event_v3 *params) {
    struct delivery got;
    ENTER();
    NEED(params);
    uint32_t timeout_ms = params->timeout_ms;
    int result = wait_on(set, true, timeout_ms, &got);
    if (result != SUCCESS) return result;
    *params = describe(&got);
    params->timeout_ms = timeout_ms;
    return SUCCESS;
}

/* The contexts of the event that nvmlEventSetWait_v3 gave last: an operational event has one, its XID. */
static int count_contexts(const void *set, uint32_t *count, uint32_t *xid) {
    ENTER();
    pthread_mutex_lock(&events_lock);
    const struct event_set *found = find_set(set);
    int result = !found ? INVALID_ARGUMENT : !found->answered ? NOT_FOUND : SUCCESS;
    if (result == SUCCESS) {
        *count = found->has_context;
        *xid = found->context_xid;
    }
    pthread_mutex_unlock(&events_lock);
    return result;
}

/* The XID of the context at an index. */
#define OPEN_CONTEXT(set, at, xid)                                  uint32_t count_, xid;                                           do {                                                                int opened_ = count_contexts((set), &count_, &xid);             if (opened_ != SUCCESS) return opened_;                         NEED((at) < count_);                                        } while (0)

API(nvmlEventSetGetContextCount_v1)(void *set, uint32_t *params) {
    uint32_t count, xid;
    NEED(params);
    int result = count_contexts(set, &count, &xid);
    if (result == SUCCESS) *params = count;
    return result;
}

API(nvmlEventSetGetContextInfo_v1)(void *set, struct context_info *params) {
    NEED(params);
    OPEN_CONTEXT(set, params->index, xid);
    *params = (struct context_info){params->index, LEGACY_XID, LEGACY_XID, sizeof xid, 1};
    return SUCCESS;
}

API(nvmlEventSetGetContextData_v1)(void *set, struct context_data *params) {
    NEED(params);
    OPEN_CONTEXT(set, params->index, xid);
    uint32_t room = params->size;
    params->size = sizeof xid;
    if (!params->data || room < sizeof xid) return INSUFFICIENT_SIZE;
    memcpy(params->data, &xid, sizeof xid);
    return SUCCESS;
}

API(nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1)(void *set, struct context_xid *params) {
    NEED(params);
    OPEN_CONTEXT(set, params->index, xid);
    params->xid = xid;
    return SUCCESS;
}
