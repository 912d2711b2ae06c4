/* Clocks, power, temperature. */

enum { CLOCK_TYPES = 4 };

#define CLOCK(function, member)                                              \
    API(function)(void *device, uint32_t type, uint32_t *out) {              \
        OPEN(device, page);                                                  \
        NEED(out && type < CLOCK_TYPES);                                     \
        uint32_t value;                                                      \
        CONSISTENTLY(page, value = page->member[type]);                      \
        return give_u32(value, out);                                         \
    }
CLOCK(nvmlDeviceGetClockInfo, clocks)
CLOCK(nvmlDeviceGetMaxClockInfo, max_clocks)
CLOCK(nvmlDeviceGetApplicationsClock, application_clocks)
CLOCK(nvmlDeviceGetDefaultApplicationsClock, default_application_clocks)

API(nvmlDeviceGetMaxCustomerBoostClock)(void *device, uint32_t type, uint32_t *out) {
    OPEN(device, page);
    NEED(out && type < CLOCK_TYPES);
    if (type > 1) return NOT_SUPPORTED; /* graphics and SM alone are boosted */
    uint32_t value;
    CONSISTENTLY(page, value = page->max_clocks[type]);
    return give_u32(value, out);
}

API(nvmlDeviceGetClock)(void *device, uint32_t type, uint32_t id, uint32_t *out) {
    switch (id) {
        case 0: return nvmlDeviceGetClockInfo(device, type, out);
        case 1: return nvmlDeviceGetApplicationsClock(device, type, out);
        case 2: return nvmlDeviceGetDefaultApplicationsClock(device, type, out);
        case 3: return nvmlDeviceGetMaxCustomerBoostClock(device, type, out);
        default: break;
    }
    OPEN(device, page);
    (void)page;
    return INVALID_ARGUMENT;
}

API(nvmlDeviceGetSupportedMemoryClocks)(void *device, uint32_t *count, uint32_t *out) {
    uint32_t clocks[COUNT_OF(((struct cw_gpu *)0)->memory_clocks)], found;
    OPEN(device, page);
    NEED(count);
    CONSISTENTLY(page, found = page->memory_clock_count; memcpy(clocks, page->memory_clocks, sizeof clocks));
    return give_members(clocks, found < COUNT_OF(clocks) ? found : COUNT_OF(clocks), count, out);
}

struct clock_range {
    uint32_t memory, highest, lowest, step_khz;
};

static bool find_range(const struct cw_gpu *page, uint32_t memory, struct clock_range *out) {
    for (uint32_t index = 0; index < page->memory_clock_count && index < COUNT_OF(page->memory_clocks); index++) {
        if (page->memory_clocks[index] != memory) continue;
        *out = (struct clock_range){memory, page->graphics_highest[index], page->graphics_lowest[index],
                                    page->graphics_step_khz[index]};
        return true;
    }
    return false;
}

API(nvmlDeviceGetSupportedGraphicsClocks)(void *device, uint32_t memory, uint32_t *count, uint32_t *out) {
    enum { MOST = 1024 };
    struct clock_range range = {0};
    uint32_t clocks[MOST], found = 0;
    bool known;
    OPEN(device, page);
    NEED(count);
    CONSISTENTLY(page, known = find_range(page, memory, &range));
    if (!known || !range.step_khz || range.highest < range.lowest) return NOT_FOUND;
    /* Whole MHz, cut off: with steps of 7.5 MHz the highest of 2062.5 is written 2062. */
    uint32_t steps = ((range.highest - range.lowest) * 1000u + 500u) / range.step_khz;
    for (uint32_t step = steps + 1; step-- > 0 && found < MOST;)
        clocks[found++] = range.lowest + step * range.step_khz / 1000u;
    return give_members(clocks, found, count, out);
}

#define REASONS(function, expression)                         \
    API(function)(void *device, uint64_t *out) {              \
        OPEN(device, page);                                   \
        NEED(out);                                            \
        CONSISTENTLY(page, *out = (expression));              \
        return finish();                                      \
    }
enum { ALL_REASONS = 0x1ff };
REASONS(nvmlDeviceGetCurrentClocksEventReasons, page->event_reasons)
REASONS(nvmlDeviceGetCurrentClocksThrottleReasons, page->event_reasons)

static int all_reasons(void *device, uint64_t *out) {
    OPEN(device, page);
    (void)page;
    NEED(out);
    *out = ALL_REASONS;
    return SUCCESS;
}
FIXED(nvmlDeviceGetSupportedClocksEventReasons)(void *device, uint64_t *out) { return all_reasons(device, out); }
FIXED(nvmlDeviceGetSupportedClocksThrottleReasons)(void *device, uint64_t *out) { return all_reasons(device, out); }

NUMBER(nvmlDeviceGetPowerUsage, power_usage_mw)
NUMBER(nvmlDeviceGetPowerManagementLimit, power_limit_mw)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, power_limit_mw)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, power_default_mw)
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, power_min_mw, power_max_mw)
CONSTANT(nvmlDeviceGetPowerManagementMode, 1)

API(nvmlDeviceGetTemperature)(void *device, uint32_t sensor, uint32_t *out) {
    uint32_t value;
    OPEN(device, page);
    NEED(out && sensor == 0);
    CONSISTENTLY(page, value = page->temperature);
    return give_u32(value, out);
}

API(nvmlDeviceGetTemperatureV)(void *device, struct temperature *out) {
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlTemperature_v1_t);
    NEED(out->sensor == 0);
    CONSISTENTLY(page, out->celsius = (int32_t)page->temperature);
    return finish();
}

API(nvmlDeviceGetMarginTemperature)(void *device, struct margin_temperature *out) {
    int32_t margin;
    OPEN(device, page);
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlMarginTemperature_v1_t);
    CONSISTENTLY(page, margin = page->temperature_margin);
    if (margin == ABSENT_I32) return NOT_SUPPORTED;
    out->celsius = margin;
    return finish();
}

/* Boards since Ada give thresholds as a distance to the limit (field values 193 to 196), not as a temperature. */
static int32_t threshold_at(const struct cw_gpu *page, uint32_t threshold) {
    switch (threshold) { /* nvmlTemperatureThresholds_t */
        case 0: return page->shutdown_at;
        case 1: return page->slowdown_at;
        case 2: return page->memory_max_at;
        case 3: return page->max_operating_at;
        default: return ABSENT_I32;
    }
}

API(nvmlDeviceGetTemperatureThreshold)(void *device, uint32_t threshold, uint32_t *out) {
    int32_t at;
    OPEN(device, page);
    NEED(out && threshold < 8);
    CONSISTENTLY(page, at = threshold_at(page, threshold));
    if (at == ABSENT_I32) return NOT_SUPPORTED;
    *out = (uint32_t)at;
    return finish();
}
