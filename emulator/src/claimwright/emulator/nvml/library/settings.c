/* What changes the node: checked here for form, decided by the node process. */

static int set_one(void *device, uint32_t operation, uint64_t first, uint64_t second) {
    uint64_t arguments[2] = {first, second};
    OPEN(device, page);
    (void)page;
    return command(operation, slot_of(device), arguments, COUNT_OF(arguments));
}

API(nvmlDeviceSetPersistenceMode)(void *device, uint32_t mode) {
    ENTER();
    NEED(mode < 2);
    return set_one(device, CW_SET_PERSISTENCE_MODE, mode, 0);
}

API(nvmlDeviceSetComputeMode)(void *device, uint32_t mode) {
    ENTER();
    NEED(mode < 4);
    return set_one(device, CW_SET_COMPUTE_MODE, mode, 0);
}

API(nvmlDeviceSetPowerManagementLimit)(void *device, uint32_t milliwatts) {
    return set_one(device, CW_SET_POWER_LIMIT, milliwatts, 0);
}

API(nvmlDeviceSetPowerManagementLimit_v2)(void *device, struct power_value *value) {
    OPEN(device, page);
    (void)page;
    NEED(value);
    NEED_VERSION(value->version, VERSION_nvmlPowerValue_v2_t);
    NEED(value->scope < 3);
    if (value->scope) return NOT_SUPPORTED; /* module and memory scopes */
    return set_one(device, CW_SET_POWER_LIMIT, value->milliwatts, 0);
}

API(nvmlDeviceSetEccMode)(void *device, uint32_t mode) {
    ENTER();
    NEED(mode < 2);
    return set_one(device, CW_SET_ECC_MODE, mode, 0);
}

API(nvmlDeviceClearEccErrorCounts)(void *device, uint32_t counter) {
    ENTER();
    NEED(counter < 2);
    return set_one(device, CW_CLEAR_ECC_COUNTS, counter, 0);
}

API(nvmlDeviceSetGpuLockedClocks)(void *device, uint32_t lowest, uint32_t highest) {
    ENTER();
    NEED(lowest <= highest);
    return set_one(device, CW_LOCK_GPU_CLOCKS, lowest, highest);
}

API(nvmlDeviceResetGpuLockedClocks)(void *device) { return set_one(device, CW_RESET_GPU_CLOCKS, 0, 0); }

/* Not an NVML name: the time slice is set by nvidia-smi through a private call of the driver, and ours asks here. */
OWN_API(claimwrightDeviceSetTimeSlice)(void *device, uint32_t slice) { return set_one(device, CW_SET_TIME_SLICE, slice, 0); }
