/* System events: the driver lets a GPU go, or takes one. */

enum { ALL_SYSTEM_EVENTS = 0x3 };

API(nvmlSystemEventSetCreate)(struct system_set *request) {
    ENTER();
    NEED(request);
    NEED_VERSION(request->version, VERSION_nvmlSystemEventSetCreateRequest_v1_t);
    return create_set(true, &request->set);
}

API(nvmlSystemEventSetFree)(struct system_set *request) {
    ENTER();
    NEED(request);
    NEED_VERSION(request->version, VERSION_nvmlSystemEventSetFreeRequest_v1_t);
    return free_set(request->set, true);
}

API(nvmlSystemRegisterEvents)(struct system_register *request) {
    ENTER();
    NEED(request);
    NEED_VERSION(request->version, VERSION_nvmlSystemRegisterEventRequest_v1_t);
    NEED(!(request->types & ~(uint64_t)ALL_SYSTEM_EVENTS));
    pthread_mutex_lock(&events_lock);
    const struct event_set *found = find_any_set(request->set, true);
    uint64_t arguments[2] = {found ? found->connection : 0, request->types};
    pthread_mutex_unlock(&events_lock);
    NEED(found);
    return command(CW_REGISTER_SYSTEM_EVENTS, 0, arguments, COUNT_OF(arguments));
}

/* With the lock held: the first event may take until the deadline, further ones are those that wait already. */
static int collect(struct event_set *set, struct system_wait *request) {
    struct delivery got;
    int64_t deadline = monotonic_ms() + request->timeout_ms;
    int result = SUCCESS;
    request->count = 0;
    while (request->count < request->room && (result = next_event(set, false, deadline, &got)) == SUCCESS) {
        request->events[request->count++] = (struct system_event){got.event.type, (uint32_t)got.event.data};
        deadline = 0;
    }
    return request->count ? SUCCESS : result;
}

API(nvmlSystemEventSetWait)(struct system_wait *request) {
    ENTER();
    NEED(request);
    NEED_VERSION(request->version, VERSION_nvmlSystemEventSetWaitRequest_v1_t);
    NEED(request->events && request->room);
    pthread_mutex_lock(&events_lock);
    struct event_set *found = find_any_set(request->set, true);
    int result = INVALID_ARGUMENT;
    if (found) {
        found->waiters++;
        result = collect(found, request);
        found->waiters--;
        release_if_unused(found);
    }
    pthread_mutex_unlock(&events_lock);
    return result;
}
