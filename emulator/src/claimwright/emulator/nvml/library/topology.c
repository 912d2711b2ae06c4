/* How GPUs, CPUs and memory lie to each other. */

static uint32_t relation(const uint8_t *matrix, const void *first, const void *second) {
    return matrix[slot_of(first) * CW_CAPACITY + slot_of(second)];
}

API(nvmlDeviceGetTopologyCommonAncestor)(void *first, void *second, uint32_t *out) {
    OPEN(first, one);
    OPEN(second, other);
    (void)one;
    (void)other;
    NEED(out);
    *out = relation(header()->topology, first, second);
    return finish();
}

static int give_handles(uint32_t slots, uint32_t *count, void **out) {
    uint32_t found = (uint32_t)__builtin_popcount(slots), room = *count;
    *count = found;
    if (!room) return SUCCESS; /* asks for the count */
    if (room < found) return INSUFFICIENT_SIZE;
    NEED(out || !found);
    for (uint32_t slot = 0; slot < CW_CAPACITY; slot++)
        if (slots >> slot & 1) *out++ = handle_at(slot);
    return finish();
}

API(nvmlDeviceGetTopologyNearestGpus)(void *device, uint32_t level, uint32_t *count, void **out) {
    OPEN(device, page);
    (void)page;
    NEED(count && level <= 50 && level % 10 == 0);
    uint32_t slots = 0;
    for (uint32_t slot = 0; slot < header()->gpu_count; slot++)
        if (is_listed(slot) && slot != slot_of(device) && relation(header()->topology, device, handle_at(slot)) == level)
            slots |= 1u << slot;
    return give_handles(slots, count, out);
}

API(nvmlSystemGetTopologyGpuSet)(uint32_t cpu, uint32_t *count, void **out) {
    ENTER();
    NEED(count && cpu < 64 * COUNT_OF(((struct cw_gpu *)0)->cpu_mask));
    uint32_t slots = 0;
    for (uint32_t slot = 0; slot < header()->gpu_count; slot++)
        if (is_listed(slot) && page_at(slot)->cpu_mask[cpu / 64] >> (cpu % 64) & 1) slots |= 1u << slot;
    return give_handles(slots, count, out);
}

API(nvmlDeviceGetP2PStatus)(void *first, void *second, uint32_t capability, uint32_t *out) {
    enum { P2P_OK = 0, P2P_UNSUPPORTED = 5, BY_NVLINK = 2, CAPABILITIES = 5 };
    OPEN(first, one);
    OPEN(second, other);
    (void)one;
    (void)other;
    NEED(out && capability < CAPABILITIES);
    bool linked = relation(header()->nvlink_peers, first, second);
    *out = capability == BY_NVLINK && !linked ? P2P_UNSUPPORTED : P2P_OK;
    return finish();
}

/* Fills as many words as the caller has, those beyond the mask with zero; nobody has room for more than MOST_WORDS. */
static int give_mask(const uint64_t *mask, size_t words, uint32_t count, unsigned long *out) {
    enum { MOST_WORDS = 1024 };
    NEED(out && count);
    for (uint32_t index = 0; index < count && index < MOST_WORDS; index++) out[index] = index < words ? mask[index] : 0;
    return finish();
}

API(nvmlDeviceGetCpuAffinity)(void *device, uint32_t words, unsigned long *out) {
    OPEN(device, page);
    return give_mask(page->cpu_mask, COUNT_OF(page->cpu_mask), words, out);
}

/* Both scopes, NUMA node and socket, agree on the nodes that we model. */
API(nvmlDeviceGetCpuAffinityWithinScope)(void *device, uint32_t words, unsigned long *out, uint32_t scope) {
    OPEN(device, page);
    NEED(scope < 2);
    return give_mask(page->cpu_mask, COUNT_OF(page->cpu_mask), words, out);
}

API(nvmlDeviceGetMemoryAffinity)(void *device, uint32_t words, unsigned long *out, uint32_t scope) {
    OPEN(device, page);
    NEED(scope < 2);
    return give_mask(page->memory_mask, COUNT_OF(page->memory_mask), words, out);
}

/* The calling thread alone, as nvml.h says. CPUs that this machine does not have, or does not allow, are left out. */
API(nvmlDeviceSetCpuAffinity)(void *device) {
    uint64_t mask[COUNT_OF(((struct cw_gpu *)0)->cpu_mask)];
    OPEN(device, page);
    CONSISTENTLY(page, memcpy(mask, page->cpu_mask, sizeof mask));
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    for (size_t cpu = 0; cpu < 64 * COUNT_OF(mask) && cpu < CPU_SETSIZE; cpu++)
        if (mask[cpu / 64] >> (cpu % 64) & 1) CPU_SET(cpu, &wanted);
    return sched_setaffinity(0, sizeof wanted, &wanted) ? UNKNOWN : finish();
}

API(nvmlDeviceClearCpuAffinity)(void *device) {
    cpu_set_t all;
    OPEN(device, page);
    (void)page;
    memset(&all, 0xff, sizeof all);
    return sched_setaffinity(0, sizeof all, &all) ? UNKNOWN : finish();
}
