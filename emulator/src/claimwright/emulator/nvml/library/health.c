/* ECC, row remapping, repair. */

API(nvmlDeviceGetEccMode)(void *device, uint32_t *current, uint32_t *pending) {
    uint32_t values[2];
    OPEN(device, page);
    NEED(current && pending);
    CONSISTENTLY(page, values[0] = page->ecc_current; values[1] = page->ecc_pending);
    if (values[0] == ABSENT) return NOT_SUPPORTED;
    *current = values[0];
    *pending = values[1];
    return finish();
}

API(nvmlDeviceGetDefaultEccMode)(void *device, uint32_t *out) {
    OPEN(device, page);
    NEED(out);
    if (load(&page->ecc_current) == ABSENT) return NOT_SUPPORTED;
    *out = 1;
    return finish();
}

/* Counts exist only while ECC is on. */
static int count_errors(void *device, uint32_t type, uint32_t counter, uint64_t *out) {
    uint64_t counts[2][2];
    uint32_t mode;
    OPEN(device, page);
    NEED(out && type < 2 && counter < 2);
    CONSISTENTLY(page, mode = page->ecc_current; counts[0][0] = page->ecc_volatile_corrected;
                 counts[0][1] = page->ecc_volatile_uncorrected; counts[1][0] = page->ecc_aggregate_corrected;
                 counts[1][1] = page->ecc_aggregate_uncorrected);
    if (mode != 1) return NOT_SUPPORTED;
    *out = counts[counter][type];
    return finish();
}

API(nvmlDeviceGetTotalEccErrors)(void *device, uint32_t type, uint32_t counter, uint64_t *out) {
    return count_errors(device, type, counter, out);
}

API(nvmlDeviceGetDetailedEccErrors)(void *device, uint32_t type, uint32_t counter, struct ecc_counts *out) {
    uint64_t count;
    int result = count_errors(device, type, counter, out ? &count : NULL);
    if (result == SUCCESS) *out = (struct ecc_counts){.device_memory = count};
    return result;
}

enum { IN_DRAM = 2, IN_SRAM = 7, LOCATIONS = 8 };

API(nvmlDeviceGetMemoryErrorCounter)(void *device, uint32_t type, uint32_t counter, uint32_t location, uint64_t *out) {
    uint64_t count;
    int result = count_errors(device, type, counter, out ? &count : NULL);
    if (result != SUCCESS) return result;
    NEED(location < LOCATIONS);
    if (location != IN_DRAM && location != IN_SRAM) return NOT_SUPPORTED;
    *out = location == IN_DRAM ? count : 0;
    return SUCCESS;
}

API(nvmlDeviceGetSramEccErrorStatus)(void *device, struct sram_ecc *out) {
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlEccSramErrorStatus_v1_t);
    if (load(&page->ecc_current) != 1) return NOT_SUPPORTED;
    *out = (struct sram_ecc){.version = out->version};
    return finish();
}

API(nvmlDeviceGetRemappedRows)(void *device, uint32_t *corrected, uint32_t *uncorrected, uint32_t *pending,
                               uint32_t *failure) {
    OPEN(device, page);
    NEED(corrected && uncorrected && pending && failure);
    if (!load(&page->remap_banks)) return NOT_SUPPORTED;
    CONSISTENTLY(page, *corrected = page->rows_corrected; *uncorrected = page->rows_uncorrected;
                 *pending = page->rows_pending; *failure = page->rows_failed);
    return finish();
}

/* A row that waits for the reset is not in use yet: the last uncorrected one, while a remap is pending. */
static void fill_remaps(const struct cw_gpu *page, struct remapped_rows *out) {
    uint32_t waiting = page->rows_pending && page->rows_uncorrected;
    *out = (struct remapped_rows){
        .corrected = page->rows_corrected, .uncorrected = page->rows_uncorrected - waiting,
        .uncorrected_inactive = waiting, .pending = page->rows_pending, .failure = page->rows_failed};
}

API(nvmlDeviceGetRemappedRows_v2)(void *device, struct remapped_rows *out) {
    OPEN(device, page);
    NEED(out);
    if (!load(&page->remap_banks)) return NOT_SUPPORTED;
    CONSISTENTLY(page, fill_remaps(page, out));
    return finish();
}

API(nvmlDeviceGetRowRemapperHistogram)(void *device, struct row_remapper *out) {
    OPEN(device, page);
    NEED(out);
    uint32_t banks = load(&page->remap_banks);
    if (!banks) return NOT_SUPPORTED;
    /* Each remap takes a spare row of a bank of its own, as long as there are banks. */
    uint32_t used;
    CONSISTENTLY(page, used = page->rows_corrected + page->rows_uncorrected);
    used = used < banks ? used : banks;
    *out = (struct row_remapper){.max = banks - used, .high = used};
    return finish();
}

API(nvmlDeviceGetRepairStatus)(void *device, struct repair_status *out) {
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlRepairStatus_v1_t);
    if (load(&page->ecc_current) == ABSENT) return NOT_SUPPORTED;
    out->channel_pending = out->tpc_pending = 0;
    return finish();
}

API(nvmlDeviceValidateInforom)(void *device) {
    OPEN(device, page);
    return load(&page->inforom_valid) ? finish() : CORRUPTED_INFOROM;
}

API(nvmlDeviceGetInforomConfigurationChecksum)(void *device, uint32_t *out) {
    OPEN(device, page);
    NEED(out);
    if (!load(&page->inforom_valid)) return CORRUPTED_INFOROM;
    uint32_t sum = 2166136261u; /* FNV-1a over the image's name: the same on every board with that image */
    CONSISTENTLY(page, for (const char *at = page->inforom_image; *at; at++) sum = (sum ^ (uint8_t)*at) * 16777619u);
    *out = sum;
    return finish();
}
