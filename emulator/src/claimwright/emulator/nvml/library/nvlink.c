/* NVLink and the fabric. */

/* The numbers of a GPU's links, or why there are none. */
static int open_link(void *device, uint32_t link, struct cw_link *out) {
    uint32_t count;
    OPEN(device, page);
    NEED(link < CW_LINKS);
    CONSISTENTLY(page, count = page->link_count; *out = page->links[link]);
    if (!count) return NOT_SUPPORTED;
    return link < count ? finish() : INVALID_ARGUMENT;
}

#define OPEN_LINK(device, link, out, into)                       \
    struct cw_link into;                                         \
    do {                                                         \
        int opened_ = open_link((device), (link), &into);        \
        if (opened_ != SUCCESS) return opened_;                  \
        NEED(out);                                               \
    } while (0)

API(nvmlDeviceGetNvLinkState)(void *device, uint32_t link, uint32_t *out) {
    OPEN_LINK(device, link, out, state);
    *out = state.active;
    return SUCCESS;
}

API(nvmlDeviceGetNvLinkVersion)(void *device, uint32_t link, uint32_t *out) {
    OPEN_LINK(device, link, out, state);
    *out = load(&page_at(slot_of(device))->link_version);
    return SUCCESS;
}

API(nvmlDeviceGetNvLinkCapability)(void *device, uint32_t link, uint32_t capability, uint32_t *out) {
    enum { SLI_BRIDGE = 4, CAPABILITIES = 6 };
    OPEN_LINK(device, link, out, state);
    NEED(capability < CAPABILITIES);
    *out = capability != SLI_BRIDGE;
    return SUCCESS;
}

static int give_remote(void *device, uint32_t link, void *out, size_t bytes) {
    OPEN_LINK(device, link, out, state);
    if (!state.wired || !state.active) return NOT_SUPPORTED;
    struct pci_info info = {.domain = state.domain, .bus = state.bus, .device = state.device,
                            .device_id = state.device_id, .subsystem_id = state.subsystem_id};
    name_pci(&info, state.function);
    memcpy(out, &info, bytes);
    return SUCCESS;
}

API(nvmlDeviceGetNvLinkRemotePciInfo_v2)(void *device, uint32_t link, struct pci_info *out) {
    return give_remote(device, link, out, sizeof *out);
}
API(nvmlDeviceGetNvLinkRemotePciInfo)(void *device, uint32_t link, struct pci_info *out) {
    return give_remote(device, link, out, offsetof(struct pci_info, bus_id));
}

API(nvmlDeviceGetNvLinkRemoteDeviceType)(void *device, uint32_t link, uint32_t *out) {
    OPEN_LINK(device, link, out, state);
    if (!state.wired) return NOT_SUPPORTED;
    *out = state.remote_type;
    return SUCCESS;
}

API(nvmlDeviceGetNvLinkErrorCounter)(void *device, uint32_t link, uint32_t counter, uint64_t *out) {
    OPEN_LINK(device, link, out, state);
    NEED(counter < COUNT_OF(state.errors));
    *out = state.errors[counter];
    return SUCCESS;
}

/* What the three older record versions share. */
static int read_fabric(void *device, struct fabric_v3 *out) {
    OPEN(device, page);
    uint32_t state;
    CONSISTENTLY(page, state = page->fabric_state; out->status = page->fabric_status;
                 out->clique = page->fabric_clique; out->health_mask = page->fabric_health_mask;
                 out->health_summary = (uint8_t)page->fabric_health_summary;
                 memcpy(out->cluster_uuid, page->fabric_uuid, sizeof out->cluster_uuid));
    if (state == ABSENT) return NOT_SUPPORTED;
    out->state = (uint8_t)state;
    return finish();
}

API(nvmlDeviceGetGpuFabricInfo)(void *device, struct fabric_v1 *out) {
    struct fabric_v3 now = {0};
    int result = read_fabric(device, &now);
    if (result == SUCCESS) NEED(out);
    if (result != SUCCESS) return result;
    *out = (struct fabric_v1){.status = now.status, .clique = now.clique, .state = now.state};
    memcpy(out->cluster_uuid, now.cluster_uuid, sizeof out->cluster_uuid);
    return SUCCESS;
}

API(nvmlDeviceGetGpuFabricInfoV)(void *device, void *out) {
    struct fabric_v3 now = {0};
    int result = read_fabric(device, &now);
    if (result != SUCCESS) return result;
    NEED(out);
    memcpy(&now.version, out, sizeof now.version);
    size_t bytes;
    switch (now.version) {
        case VERSION_nvmlGpuFabricInfo_v2_t: bytes = sizeof(struct fabric_v2); break;
        case VERSION_nvmlGpuFabricInfo_v3_t: bytes = sizeof(struct fabric_v3); break;
        default: return ARGUMENT_VERSION_MISMATCH;
    }
    memcpy(out, &now, bytes);
    return SUCCESS;
}
_Static_assert(offsetof(struct fabric_v2, health_mask) == offsetof(struct fabric_v3, health_mask), "shared head");

API(nvmlDeviceGetGpuFabricInfo_v4)(void *device, struct fabric_v4 *out) {
    struct fabric_v3 now = {0};
    int result = read_fabric(device, &now);
    if (result != SUCCESS) return result;
    NEED(out);
    *out = (struct fabric_v4){.status = now.status, .clique_count = 1, .state = now.state,
                              .health_mask = now.health_mask, .health_summary = now.health_summary};
    memcpy(out->cluster_uuid, now.cluster_uuid, sizeof out->cluster_uuid);
    out->cliques[0].id = now.clique;
    return SUCCESS;
}
