/* MIG, as far as a board without instances answers: whether the mode exists and is on. */

PAIR(nvmlDeviceGetMigMode, mig_current, mig_pending)
CONSTANT(nvmlDeviceIsMigDeviceHandle, 0)

/* Zero when the mode is off or unknown to the board. */
CONSTANT(nvmlDeviceGetMaxMigDeviceCount, 0)

API(nvmlDeviceGetMigDeviceHandleByIndex)(void *device, uint32_t index, void **out) {
    (void)index;
    OPEN(device, page);
    NEED(out);
    return load(&page->mig_current) == ABSENT ? NOT_SUPPORTED : NOT_FOUND;
}

/* No handle is a MIG device's. */
API(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)(void *device, void **out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    return INVALID_ARGUMENT;
}

enum { INSTANCE_PROFILES = 18 };

/* Callers count profiles up until INVALID_ARGUMENT; each missing one is NOT_SUPPORTED. */
API(nvmlDeviceGetGpuInstanceProfileInfo)(void *device, uint32_t profile, void *out) {
    OPEN(device, page);
    (void)page;
    NEED(out && profile < INSTANCE_PROFILES);
    return NOT_SUPPORTED;
}

API(nvmlDeviceGetGpuInstanceProfileInfoV)(void *device, uint32_t profile, uint32_t *out) {
    OPEN(device, page);
    (void)page;
    NEED(out && profile < INSTANCE_PROFILES);
    if (*out != VERSION_nvmlGpuInstanceProfileInfo_v3_t) NEED_VERSION(*out, VERSION_nvmlGpuInstanceProfileInfo_v2_t);
    return NOT_SUPPORTED;
}
