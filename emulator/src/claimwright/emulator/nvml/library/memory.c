/* Memory, utilisation, processes. */

static int read_memory(void *device, struct memory_v2 *out) {
    OPEN(device, page);
    CONSISTENTLY(page, out->total = page->memory_total; out->reserved = page->memory_reserved;
                 out->used = page->memory_used);
    out->free = out->total - out->reserved - out->used;
    return SUCCESS;
}

API(nvmlDeviceGetMemoryInfo)(void *device, struct memory *out) {
    struct memory_v2 now;
    ENTER();
    NEED(out);
    int result = read_memory(device, &now);
    if (result != SUCCESS) return result;
    *out = (struct memory){.total = now.total, .free = now.free, .used = now.reserved + now.used};
    return finish();
}

API(nvmlDeviceGetMemoryInfo_v2)(void *device, struct memory_v2 *out) {
    struct memory_v2 now = {.version = VERSION_nvmlMemory_v2_t};
    ENTER();
    NEED(out);
    int result = read_memory(device, &now);
    if (result != SUCCESS) return result;
    NEED_VERSION(out->version, now.version);
    *out = now;
    return finish();
}

API(nvmlDeviceGetBAR1MemoryInfo)(void *device, struct bar1_memory *out) {
    OPEN(device, page);
    NEED(out);
    CONSISTENTLY(page, out->total = page->bar1_total; out->used = page->bar1_used);
    out->free = out->total - out->used;
    return finish();
}

API(nvmlDeviceGetConfComputeMemSizeInfo)(void *device, struct confidential_memory *out) {
    OPEN(device, page);
    NEED(out);
    CONSISTENTLY(page, out->unprotected_kib = page->memory_total >> 10);
    out->protected_kib = 0;
    return finish();
}

FIXED(nvmlDeviceGetConfComputeProtectedMemoryUsage)(void *device, struct memory *out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    *out = (struct memory){0};
    return finish();
}

/* While MIG is on NVML does not say how busy the whole is (nvml.h, notes of the utilization getters). */
#define NEED_WHOLE(page)                                        \
    do {                                                        \
        if (load(&(page)->mig_current) == 1) return NOT_SUPPORTED; \
    } while (0)

API(nvmlDeviceGetUtilizationRates)(void *device, struct utilization *out) {
    OPEN(device, page);
    NEED_WHOLE(page);
    NEED(out);
    CONSISTENTLY(page, out->gpu = page->gpu_percent; out->memory = page->memory_percent);
    return finish();
}

enum { SAMPLING_US = 167000 };

#define ENGINE(function, member)                                                     \
    API(function)(void *device, uint32_t *percent, uint32_t *period_us) {            \
        OPEN(device, page);                                                          \
        NEED_WHOLE(page);                                                            \
        NEED(percent && period_us);                                                  \
        CONSISTENTLY(page, *percent = page->member);                                 \
        *period_us = SAMPLING_US;                                                    \
        return finish();                                                             \
    }
ENGINE(nvmlDeviceGetEncoderUtilization, encoder_percent)
ENGINE(nvmlDeviceGetDecoderUtilization, decoder_percent)
ENGINE(nvmlDeviceGetJpgUtilization, jpeg_percent)
ENGINE(nvmlDeviceGetOfaUtilization, ofa_percent)

FIXED(nvmlDeviceGetEncoderStats)(void *device, uint32_t *sessions, uint32_t *fps, uint32_t *latency_us) {
    OPEN(device, page);
    (void)page;
    NEED(sessions && fps && latency_us);
    *sessions = *fps = *latency_us = 0;
    return finish();
}

FIXED(nvmlDeviceGetFBCStats)(void *device, struct encoder_stats_fbc *out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    *out = (struct encoder_stats_fbc){0};
    return finish();
}

static int no_sessions(void *device, uint32_t *count) {
    OPEN(device, page);
    (void)page;
    NEED(count);
    *count = 0;
    return finish();
}

FIXED(nvmlDeviceGetEncoderSessions)(void *device, uint32_t *count, void *sessions) {
    (void)sessions;
    return no_sessions(device, count);
}

FIXED(nvmlDeviceGetFBCSessions)(void *device, uint32_t *count, void *sessions) {
    (void)sessions;
    return no_sessions(device, count);
}

