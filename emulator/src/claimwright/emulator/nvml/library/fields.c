/* Field values: many numbers in one call, each with its own return code. Field ids are nvml.h's NVML_FI_DEV_*. */

struct field_answer {
    uint32_t type;
    uint64_t number; /* signed values in two's complement */
};

static int answer_u32(struct field_answer *out, uint32_t number) {
    if (number == ABSENT) return NOT_SUPPORTED;
    *out = (struct field_answer){VALUE_U32, number};
    return SUCCESS;
}

static int answer_u64(struct field_answer *out, uint64_t number) {
    if (number == ABSENT_U64) return NOT_SUPPORTED;
    *out = (struct field_answer){VALUE_U64, number};
    return SUCCESS;
}

static int answer_i32(struct field_answer *out, int32_t number) {
    if (number == ABSENT_I32) return NOT_SUPPORTED;
    *out = (struct field_answer){VALUE_I32, (uint32_t)number};
    return SUCCESS;
}

static uint32_t count_links(const struct cw_gpu *page, bool to_switch) {
    uint32_t count = 0;
    for (uint32_t link = 0; link < page->link_count && link < CW_LINKS; link++)
        count += page->links[link].active && (!to_switch || (page->links[link].wired && page->links[link].remote_type == 2));
    return count;
}

enum link_counter { REPLAYS, RECOVERIES, CRC_FLIT, CRC_DATA, ECC_DATA, SPEED };

/* Fields of one link take the link's number as their scope. */
static int link_field(const struct cw_gpu *page, uint32_t field, uint32_t link, struct field_answer *out) {
    if (!page->link_count) return NOT_SUPPORTED;
    if (link >= page->link_count || link >= CW_LINKS) return INVALID_ARGUMENT;
    const struct cw_link *state = &page->links[link];
    switch (field) {
        case 146: return answer_u64(out, state->wired ? state->remote_link : ABSENT_U64);
        case 164: return answer_u32(out, state->active ? page->link_speed_mbps : 0);
        case 165: return answer_u32(out, state->active);
        case 166: return answer_u32(out, page->link_version);
        case 161: return answer_u64(out, state->errors[REPLAYS]);
        case 162: return answer_u64(out, state->errors[RECOVERIES]);
        default: return answer_u64(out, (uint64_t)state->errors[CRC_FLIT] + state->errors[CRC_DATA]); /* 163 */
    }
}

static int link_errors(const struct cw_gpu *page, uint32_t link, uint32_t counter, struct field_answer *out) {
    if (!page->link_count) return NOT_SUPPORTED;
    return link < page->link_count && link < CW_LINKS ? answer_u64(out, page->links[link].errors[counter]) : INVALID_ARGUMENT;
}

static int all_link_errors(const struct cw_gpu *page, uint32_t counter, struct field_answer *out) {
    uint64_t sum = 0;
    if (!page->link_count) return NOT_SUPPORTED;
    for (uint32_t link = 0; link < page->link_count && link < CW_LINKS; link++) sum += page->links[link].errors[counter];
    return answer_u64(out, sum);
}

/* Per-link ids of the first generations: six links, later twelve, one id each. */
static int old_link_field(const struct cw_gpu *page, uint32_t field, struct field_answer *out) {
    static const struct { uint32_t first, links, first_link; enum link_counter what; } runs[] = {
        {32, 6, 0, CRC_FLIT}, {39, 6, 0, CRC_DATA}, {46, 6, 0, REPLAYS}, {53, 6, 0, RECOVERIES}, {84, 6, 0, SPEED},
        {96, 6, 6, CRC_FLIT}, {102, 6, 6, CRC_DATA}, {108, 6, 6, REPLAYS}, {114, 6, 6, RECOVERIES}, {132, 6, 6, SPEED},
        {148, 12, 0, ECC_DATA},
    };
    for (size_t index = 0; index < COUNT_OF(runs); index++) {
        uint32_t link = field - runs[index].first;
        if (link >= runs[index].links) continue;
        link += runs[index].first_link;
        return runs[index].what == SPEED ? link_field(page, 164, link, out) : link_errors(page, link, runs[index].what, out);
    }
    return NOT_SUPPORTED;
}

static int ecc_field(const struct cw_gpu *page, uint32_t field, struct field_answer *out) {
    if (page->ecc_current != 1 && field > 2) return NOT_SUPPORTED;
    switch (field) {
        case 1: return answer_u32(out, page->ecc_current);
        case 2: return answer_u32(out, page->ecc_pending);
        case 3: case 11: return answer_u64(out, page->ecc_volatile_corrected);
        case 4: case 12: return answer_u64(out, page->ecc_volatile_uncorrected);
        case 5: case 22: return answer_u64(out, page->ecc_aggregate_corrected);
        case 6: case 23: return answer_u64(out, page->ecc_aggregate_uncorrected);
        default: return NOT_SUPPORTED;
    }
}

/* Power of the memory and of a module of processor and GPUs: boards tell little of it, or nothing. */
static int other_power_field(const struct cw_gpu *page, uint32_t field, uint32_t scope, struct field_answer *out) {
    enum { MODULE = 1, MEMORY_SCOPE = 2 };
    if (scope == MEMORY_SCOPE) return field == 185 ? answer_u32(out, page->memory_power_mw) : NOT_SUPPORTED;
    if (scope != MODULE) return INVALID_ARGUMENT;
    switch (field) {
        case 185: case 186: return answer_u32(out, page->module_power_mw);
        case 187: return answer_u32(out, page->module_min_mw);
        case 188: return answer_u32(out, page->module_max_mw);
        case 189: return answer_u32(out, page->module_default_mw);
        case 190: case 192: return answer_u32(out, page->module_default_mw);
        default: return NOT_SUPPORTED;
    }
}

static int power_field(const struct cw_gpu *page, uint32_t field, uint32_t scope, struct field_answer *out) {
    if (field >= 185 && field <= 192 && field != 191 && scope) return other_power_field(page, field, scope, out);
    switch (field) {
        case 185: return page->power_average ? answer_u32(out, page->power_usage_mw) : NOT_SUPPORTED;
        case 186: return answer_u32(out, page->power_usage_mw);
        case 187: return answer_u32(out, page->power_min_mw);
        case 188: return answer_u32(out, page->power_max_mw);
        case 189: return answer_u32(out, page->power_default_mw);
        case 190: case 192: return answer_u32(out, page->power_limit_mw);
        /* Its levels of privilege are given outside the operating system: no client has one here. */
        case 251: return page->power_smoothing ? NO_PERMISSION : NOT_SUPPORTED;
        default: return NOT_SUPPORTED;
    }
}

/* For how long something held the clocks back, ns: nothing did (nvml.h: since the driver was loaded). */
static int slowdown_field(uint32_t field, struct field_answer *out) {
    switch (field) {
        case 74: case 75: case 76: case 77: case 78: case 79: case 80: case 81: case 269: case 270: case 271:
            return answer_u64(out, 0);
        default: return NOT_SUPPORTED;
    }
}

static int heat_field(const struct cw_gpu *page, uint32_t field, struct field_answer *out) {
    switch (field) {
        case 82: return answer_u32(out, page->memory_temperature);
        case 193: return answer_i32(out, page->shutdown_tlimit);
        case 194: return answer_i32(out, page->slowdown_tlimit);
        case 195: return answer_i32(out, page->memory_max_tlimit);
        case 196: return answer_i32(out, page->max_operating_tlimit);
        case 308: return answer_u32(out, page->temperature);
        default: return NOT_SUPPORTED;
    }
}

/* When idle links go to low power: the threshold, its bounds, its unit (100 us, on NVLink 5 50 us), whether there is one. */
static int link_power_field(const struct cw_gpu *page, uint32_t field, struct field_answer *out) {
    enum { LOWEST = 1, HIGHEST = 0x1fff, BLACKWELL = 10 };
    bool known = page->link_threshold != ABSENT;
    if (field == 225) return answer_u32(out, known);
    if (!known) return NOT_SUPPORTED;
    switch (field) {
        case 168: return answer_u32(out, page->link_threshold);
        case 200: return answer_u32(out, HIGHEST);
        case 223: return answer_u32(out, LOWEST);
        case 224: return answer_u32(out, page->architecture >= BLACKWELL);
        default: return NOT_SUPPORTED;
    }
}

static int general_field(const struct cw_gpu *page, uint32_t field, struct field_answer *out) {
    enum { HOPPER = 9, GPU_RESET = 1, DRAIN_AND_RESET = 4 };
    switch (field) {
        case 38: return all_link_errors(page, CRC_FLIT, out);
        case 45: return all_link_errors(page, CRC_DATA, out);
        case 52: return all_link_errors(page, REPLAYS, out);
        case 59: return all_link_errors(page, RECOVERIES, out);
        case 160: return all_link_errors(page, ECC_DATA, out);
        case 29: return page->retires_pages ? answer_u64(out, page->pages_single_bit) : NOT_SUPPORTED;
        case 30: return page->retires_pages ? answer_u64(out, page->pages_double_bit) : NOT_SUPPORTED;
        case 31: return page->retires_pages
            ? answer_u32(out, page->pages_pending_single_bit | page->pages_pending_double_bit) : NOT_SUPPORTED;
        case 92: return page->retires_pages ? answer_u32(out, page->pages_pending_single_bit) : NOT_SUPPORTED;
        case 93: return page->retires_pages ? answer_u32(out, page->pages_pending_double_bit) : NOT_SUPPORTED;
        case 90: return page->link_count ? answer_u32(out, page->link_speed_mbps) : NOT_SUPPORTED;
        case 91: return page->link_count ? answer_u32(out, page->link_count) : NOT_SUPPORTED;
        case 228: return answer_u32(out, page->atomics_outbound);
        case 229: return answer_u32(out, page->atomics_inbound);
        case 94: return answer_u32(out, page->replays);
        case 95: return answer_u32(out, 0);
        case 142: return page->remap_banks ? answer_u32(out, page->rows_corrected) : NOT_SUPPORTED;
        case 143: return page->remap_banks ? answer_u32(out, page->rows_uncorrected) : NOT_SUPPORTED;
        case 144: return page->remap_banks ? answer_u32(out, page->rows_pending) : NOT_SUPPORTED;
        case 145: return page->remap_banks ? answer_u32(out, page->rows_failed) : NOT_SUPPORTED;
        case 147: return page->link_count ? answer_u32(out, count_links(page, true)) : NOT_SUPPORTED;
        case 170: return answer_u32(out, 0); /* chip-to-chip links */
        case 184: case 199: return answer_u32(out, page->mig_current != ABSENT && page->architecture >= HOPPER);
        case 226: return answer_u32(out, page->recovery_action == GPU_RESET);
        case 227: return answer_u32(out, page->recovery_action == DRAIN_AND_RESET);
        case 230: return answer_u32(out, page->recovery_action);
        default: return NOT_SUPPORTED;
    }
}

static int read_field(const struct cw_gpu *page, uint32_t field, uint32_t scope, struct field_answer *out) {
    enum { FIELDS = 310 };
    if (!field || field >= FIELDS) return INVALID_ARGUMENT;
    int result = ecc_field(page, field, out);
    if (result == NOT_SUPPORTED) result = power_field(page, field, scope, out);
    if (result == NOT_SUPPORTED) result = heat_field(page, field, out);
    if (result == NOT_SUPPORTED) result = slowdown_field(field, out);
    if (result == NOT_SUPPORTED) result = link_power_field(page, field, out);
    if (result == NOT_SUPPORTED) result = general_field(page, field, out);
    if (result == NOT_SUPPORTED) result = old_link_field(page, field, out);
    if (result == NOT_SUPPORTED && ((field >= 161 && field <= 166) || field == 146))
        result = link_field(page, field, scope, out);
    return result;
}

/* Energy grows while nothing changes: the node adds it up. */
static int energy_field(void *device, struct field_answer *out) {
    uint64_t millijoules = 0;
    int result = nvmlDeviceGetTotalEnergyConsumption(device, &millijoules);
    return result == SUCCESS ? answer_u64(out, millijoules) : result;
}

API(nvmlDeviceGetFieldValues)(void *device, int count, struct field_value *values) {
    enum { MOST_VALUES = 4096 }; /* ours: nobody has that many, and a wrong count must not lead us astray */
    OPEN(device, page);
    NEED(values && count > 0 && count <= MOST_VALUES);
    int64_t now = (int64_t)now_us();
    for (int index = 0; index < count; index++) {
        struct field_answer answer = {0};
        int result;
        if (values[index].field == 83 || values[index].field == 191)
            result = energy_field(device, &answer);
        else
            CONSISTENTLY(page, result = read_field(page, values[index].field, values[index].scope, &answer));
        values[index].timestamp_us = now;
        values[index].latency_us = 0;
        values[index].result = (uint32_t)result;
        values[index].type = answer.type;
        values[index].value = (union value){.u64 = answer.number};
    }
    return finish();
}
