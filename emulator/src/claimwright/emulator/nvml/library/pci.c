/* PCI identity and link. */

static void fill_pci(const struct cw_gpu *page, struct pci_info *out) {
    *out = (struct pci_info){
        .domain = page->pci_domain, .bus = page->pci_bus, .device = page->pci_device,
        .device_id = page->pci_device_id, .subsystem_id = page->pci_subsystem_id,
    };
}

static inline __attribute__((always_inline)) char *write_hex(char *at, uint32_t number, int digits) {
#pragma GCC unroll 8
    while (digits--) *at++ = "0123456789ABCDEF"[number >> 4 * digits & 0xf];
    return at;
}

/* By hand: printf would take ten times as long as all the rest of the getter. */
static inline __attribute__((always_inline)) void write_bus_id(char *at, const struct pci_info *info, int domain_digits,
                                                               unsigned function) {
    at = write_hex(at, info->domain, domain_digits);
    *at++ = ':';
    at = write_hex(at, info->bus, 2);
    *at++ = ':';
    at = write_hex(at, info->device, 2);
    *at++ = '.';
    *write_hex(at, function, 1) = 0;
}

/* Twice, as reading back what was just written byte by byte waits for the stores. */
static void name_pci(struct pci_info *out, unsigned function) {
    write_bus_id(out->legacy_bus_id, out, 4, function);
    write_bus_id(out->bus_id, out, 8, function);
}

/* Each version wrote one more tail: the oldest ends before the subsystem id, the second before the long bus id. */
static int give_pci(void *device, void *out, size_t bytes) {
    struct pci_info info;
    OPEN(device, page);
    NEED(out);
    uint32_t function;
    CONSISTENTLY(page, fill_pci(page, &info); function = page->pci_function);
    name_pci(&info, function);
    memcpy(out, &info, bytes);
    return finish();
}

API(nvmlDeviceGetPciInfo_v3)(void *device, struct pci_info *out) { return give_pci(device, out, sizeof *out); }
API(nvmlDeviceGetPciInfo_v2)(void *device, struct pci_info *out) {
    return give_pci(device, out, offsetof(struct pci_info, bus_id));
}
API(nvmlDeviceGetPciInfo)(void *device, struct pci_info *out) {
    return give_pci(device, out, offsetof(struct pci_info, subsystem_id));
}

API(nvmlDeviceGetPciInfoExt)(void *device, struct pci_info_ext *out) {
    struct pci_info info;
    uint32_t function, base, sub;
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlPciInfoExt_v1_t);
    CONSISTENTLY(page, fill_pci(page, &info); function = page->pci_function; base = page->pci_base_class;
                 sub = page->pci_sub_class);
    name_pci(&info, function);
    *out = (struct pci_info_ext){
        .version = out->version, .domain = info.domain, .bus = info.bus, .device = info.device,
        .device_id = info.device_id, .subsystem_id = info.subsystem_id, .base_class = base, .sub_class = sub};
    memcpy(out->bus_id, info.bus_id, sizeof out->bus_id);
    return finish();
}

NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, link_generation_max)
NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, link_generation_device)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, link_generation)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, link_width_max)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, link_width)
NUMBER(nvmlDeviceGetPcieReplayCounter, replays)

static const uint32_t lane_mbps[] = {0, 2500, 5000, 8000, 16000, 32000, 64000};

static int link_speed(void *device, uint32_t *out) {
    OPEN(device, page);
    NEED(out);
    uint32_t generation;
    CONSISTENTLY(page, generation = page->link_generation);
    if (generation >= COUNT_OF(lane_mbps)) return NOT_SUPPORTED;
    *out = lane_mbps[generation];
    return finish();
}

API(nvmlDeviceGetPcieSpeed)(void *device, uint32_t *out) { return link_speed(device, out); }

/* An enum here, not a rate: 1 is 2.5 GT/s, 2 is 5, and so on. */
NUMBER(nvmlDeviceGetPcieLinkMaxSpeed, link_generation_max)

/* KiB/s. Our loads move data over the link as they use the memory: at full use a quarter of what the link carries goes
 * to the GPU, half as much comes back. */
API(nvmlDeviceGetPcieThroughput)(void *device, uint32_t counter, uint32_t *out) {
    enum { SENT, RECEIVED, COUNTERS, RECEIVED_SHARE = 4, SENT_SHARE = 8 };
    uint32_t generation, width, busy;
    OPEN(device, page);
    NEED(out && counter < COUNTERS);
    CONSISTENTLY(page, generation = page->link_generation; width = page->link_width; busy = page->memory_percent);
    if (generation >= COUNT_OF(lane_mbps)) return NOT_SUPPORTED;
    uint64_t link_kib = (uint64_t)lane_mbps[generation] * width * 1000000 / 8 / 1024;
    *out = (uint32_t)(link_kib * busy / 100 / (counter == SENT ? SENT_SHARE : RECEIVED_SHARE));
    return finish();
}
