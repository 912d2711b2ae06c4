/* Finding GPUs, and what they are. */

#include <ctype.h>

API(nvmlDeviceGetCount_v2)(uint32_t *out) {
    ENTER();
    NEED(out);
    refresh_visibility();
    *out = count_listed();
    return finish();
}
ALIAS(nvmlDeviceGetCount, nvmlDeviceGetCount_v2);

API(nvmlDeviceGetHandleByIndex_v2)(uint32_t index, void **out) {
    ENTER();
    NEED(out);
    refresh_visibility();
    for (uint32_t slot = 0; slot < header()->gpu_count; slot++) {
        if (!is_listed(slot) || index--) continue;
        const struct cw_gpu *page;
        int result = open_page(handle_at(slot), &page);
        if (result == SUCCESS) *out = handle_at(slot);
        return result;
    }
    return INVALID_ARGUMENT;
}
ALIAS(nvmlDeviceGetHandleByIndex, nvmlDeviceGetHandleByIndex_v2);

API(nvmlDeviceGetIndex)(void *device, uint32_t *out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    uint32_t index = 0;
    for (uint32_t slot = 0; slot < slot_of(device); slot++) index += is_listed(slot);
    *out = index;
    return finish();
}

typedef bool (*matcher)(const struct cw_gpu *page, const void *wanted);

static int find_device(matcher matches, const void *wanted, void **out) {
    ENTER();
    NEED(wanted && out);
    refresh_visibility();
    for (uint32_t slot = 0; slot < header()->gpu_count; slot++) {
        const struct cw_gpu *page = page_at(slot);
        if (!is_listed(slot) || !matches(page, wanted)) continue;
        int result = open_page(handle_at(slot), &page);
        if (result == SUCCESS) *out = handle_at(slot);
        return result;
    }
    return node_is_dead() ? GPU_IS_LOST : NOT_FOUND;
}

static bool has_uuid(const struct cw_gpu *page, const void *wanted) {
    return !strncmp(page->uuid, wanted, sizeof page->uuid);
}

static bool has_serial(const struct cw_gpu *page, const void *wanted) {
    return !strncmp(page->serial, wanted, sizeof page->serial);
}

struct bus_address {
    unsigned domain, bus, device;
};

static bool has_address(const struct cw_gpu *page, const void *wanted) {
    const struct bus_address *address = wanted;
    return page->pci_domain == address->domain && page->pci_bus == address->bus && page->pci_device == address->device;
}

API(nvmlDeviceGetHandleByUUID)(const char *uuid, void **out) {
    return find_device(has_uuid, uuid, out);
}

API(nvmlDeviceGetHandleBySerial)(const char *serial, void **out) {
    return find_device(has_serial, serial, out);
}

/* Accepts 53:00, 53:00.0, 0000:53:00.0 and 00000000:53:00.0, in either case. */
static bool read_bus_address(const char *text, struct bus_address *out) {
    unsigned function = 0;
    int used = 0;
    if (sscanf(text, "%8x:%2x:%2x%n.%1x%n", &out->domain, &out->bus, &out->device, &used, &function, &used) >= 3)
        return !text[used] && isxdigit((unsigned char)text[0]);
    out->domain = 0;
    if (sscanf(text, "%2x:%2x%n.%1x%n", &out->bus, &out->device, &used, &function, &used) >= 2)
        return !text[used] && isxdigit((unsigned char)text[0]);
    return false;
}

API(nvmlDeviceGetHandleByPciBusId_v2)(const char *text, void **out) {
    struct bus_address address = {0};
    ENTER();
    NEED(text && out && strnlen(text, 64) < 64 && read_bus_address(text, &address));
    return find_device(has_address, &address, out);
}
ALIAS(nvmlDeviceGetHandleByPciBusId, nvmlDeviceGetHandleByPciBusId_v2);

enum { UUID_ASCII = 1, UUID_BINARY = 2 };

static bool parse_uuid(const char *text, uint8_t bytes[16]) {
    int digits = 0;
    for (text += 4; *text && digits < 32; text++) {
        if (*text == '-') continue;
        if (!isxdigit((unsigned char)*text)) return false;
        uint8_t digit = (uint8_t)(isdigit((unsigned char)*text) ? *text - '0' : tolower(*text) - 'a' + 10);
        bytes[digits / 2] = (uint8_t)(digits % 2 ? bytes[digits / 2] << 4 | digit : digit);
        digits++;
    }
    return digits == 32;
}

static bool has_uuid_bytes(const struct cw_gpu *page, const void *wanted) {
    uint8_t bytes[16];
    return parse_uuid(page->uuid, bytes) && !memcmp(bytes, wanted, sizeof bytes);
}

API(nvmlDeviceGetHandleByUUIDV)(const struct uuid *uuid, void **out) {
    char text[sizeof uuid->value.text + 1] = "";
    ENTER();
    NEED(uuid && out);
    NEED_VERSION(uuid->version, VERSION_nvmlUUID_v1_t);
    NEED(uuid->type == UUID_ASCII || uuid->type == UUID_BINARY);
    if (uuid->type == UUID_BINARY) return find_device(has_uuid_bytes, uuid->value.bytes, out);
    memcpy(text, uuid->value.text, sizeof uuid->value.text);
    return find_device(has_uuid, text, out);
}

TEXT(nvmlDeviceGetName, name)
TEXT(nvmlDeviceGetUUID, uuid)
TEXT(nvmlDeviceGetSerial, serial)
TEXT(nvmlDeviceGetBoardPartNumber, board_part)
TEXT(nvmlDeviceGetVbiosVersion, vbios)

/* A corrupted infoROM gives nothing away. */
static int check_inforom(void *device) {
    OPEN(device, page);
    return load(&page->inforom_valid) ? SUCCESS : CORRUPTED_INFOROM;
}

API(nvmlDeviceGetInforomImageVersion)(void *device, char *out, unsigned length) {
    int result = check_inforom(device);
    return result == SUCCESS ? device_text(device, offsetof(struct cw_gpu, inforom_image), 32, out, length) : result;
}

API(nvmlDeviceGetInforomVersion)(void *device, uint32_t object, char *out, unsigned length) {
    static const size_t members[] = {
        offsetof(struct cw_gpu, inforom_oem), offsetof(struct cw_gpu, inforom_ecc), offsetof(struct cw_gpu, inforom_power)};
    ENTER();
    NEED(object <= COUNT_OF(members));
    if (object == COUNT_OF(members)) return NOT_SUPPORTED; /* the DEN object */
    int result = check_inforom(device);
    if (result != SUCCESS) return result;
    return device_text(device, members[object], sizeof ((struct cw_gpu *)0)->inforom_oem, out, length);
}

/* The buffer has no length: callers give the 80 bytes that the header asks for. */
API(nvmlDeviceGetGspFirmwareVersion)(void *device, char *out) {
    OPEN(device, page);
    (void)page;
    return give_text(header()->driver_version, sizeof header()->driver_version, out, 80);
}

FIXED(nvmlDeviceGetGspFirmwareMode)(void *device, uint32_t *enabled, uint32_t *default_mode) {
    OPEN(device, page);
    (void)page;
    NEED(enabled && default_mode);
    *enabled = *default_mode = 1;
    return finish();
}

NUMBER(nvmlDeviceGetMinorNumber, minor)
NUMBER(nvmlDeviceGetModuleId, module_id)
NUMBER(nvmlDeviceGetBrand, brand)
NUMBER(nvmlDeviceGetArchitecture, architecture)
NUMBER(nvmlDeviceGetBoardId, board_id)
NUMBER(nvmlDeviceGetNumGpuCores, cuda_cores)
NUMBER(nvmlDeviceGetMemoryBusWidth, memory_bus_width)
NUMBER(nvmlDeviceGetIrqNum, irq)
NUMBER(nvmlDeviceGetPersistenceMode, persistence_mode)
NUMBER(nvmlDeviceGetComputeMode, compute_mode)
NUMBER(nvmlDeviceGetPerformanceState, performance_state)
NUMBER(nvmlDeviceGetPowerState, performance_state)
NUMBER(nvmlDeviceGetNumFans, fan_count)
PAIR(nvmlDeviceGetCudaComputeCapability, cuda_major, cuda_minor)
CONSTANT(nvmlDeviceGetMultiGpuBoard, 0)
CONSTANT(nvmlDeviceGetBusType, 2)     /* PCIe */
CONSTANT(nvmlDeviceGetPowerSource, 0) /* AC */
CONSTANT(nvmlDeviceGetDisplayMode, 1) /* as captured boards say, headless ones too */
CONSTANT(nvmlDeviceGetDisplayActive, 0)
NUMBER(nvmlDeviceGetVirtualizationMode, virtualization_mode)
CONSTANT(nvmlDeviceGetAccountingBufferSize, 4000)
CONSTANT(nvmlDeviceGetAdaptiveClockInfoStatus, 1)

/* Coherent boards alone have memory of their own as a NUMA node. */
NUMBER(nvmlDeviceGetNumaNodeId, numa_node)

API(nvmlDeviceGetAddressingMode)(void *device, struct addressing_mode *out) {
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlDeviceAddressingMode_v1_t);
    uint32_t mode;
    CONSISTENTLY(page, mode = page->addressing_mode);
    return give_u32(mode, &out->value);
}

API(nvmlDeviceGetC2cModeInfoV)(void *device, struct c2c_mode *out) {
    OPEN(device, page);
    NEED(out);
    uint32_t mode;
    CONSISTENTLY(page, mode = page->c2c_mode);
    return give_u32(mode, &out->enabled);
}

API(nvmlDeviceGetPdi)(void *device, struct pdi *out) {
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlPdi_v1_t);
    CONSISTENTLY(page, out->value = page->pdi);
    return finish();
}

FIXED(nvmlDeviceGetCapabilities)(void *device, struct capabilities *out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlDeviceCapabilities_v1_t);
    out->mask = 0; /* no EGM */
    return finish();
}

API(nvmlDeviceOnSameBoard)(void *first, void *second, int *out) {
    OPEN(first, one);
    OPEN(second, other);
    NEED(out);
    *out = one == other;
    return SUCCESS;
}
