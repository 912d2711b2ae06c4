/* GPU performance metrics: a sample is a copy of the node's counters, a metric the difference of two of them. */

enum gpm_counter { GPM_TIME, GPM_GPU, GPM_MEMORY, GPM_ENCODER, GPM_DECODER, GPM_JPEG, GPM_OFA, GPM_COUNTERS };
enum { WHOLE_GPU = 0xffffffff, GPM_METRICS = 477, GPM_VERSION = 1, GPM_SAMPLE_MAGIC = 0x4d504743 };

struct gpm_sample {
    uint32_t magic;
    bool filled;
    uint32_t number, instance;
    uint64_t counters[GPM_COUNTERS];
};

struct gpm_metric {
    uint32_t id, result;
    double value;
    struct { const char *short_name, *long_name, *unit; } info;
};

struct gpm_metrics_get {
    uint32_t version, count;
    struct gpm_sample *first, *second;
    struct gpm_metric metrics[GPM_METRICS];
};
MATCHES(struct gpm_metrics_get, nvmlGpmMetricsGet_t);

/* Samples live until they are freed; those alive are listed, so that a foreign pointer is refused, not followed. */
enum { GPM_SAMPLES = 1024 };
static struct gpm_sample *gpm_samples[GPM_SAMPLES];

static size_t find_sample(const void *sample) {
    size_t index = 0;
    while (index < GPM_SAMPLES && gpm_samples[index] != sample) index++;
    return index;
}

API(nvmlGpmSampleAlloc)(void **out) {
    ENTER();
    NEED(out);
    struct gpm_sample *made = calloc(1, sizeof *made);
    if (!made) return MEMORY;
    made->magic = GPM_SAMPLE_MAGIC;
    pthread_mutex_lock(&gpm_lock);
    size_t index = find_sample(NULL);
    if (index < GPM_SAMPLES) gpm_samples[index] = made;
    pthread_mutex_unlock(&gpm_lock);
    if (index == GPM_SAMPLES) {
        free(made);
        return INSUFFICIENT_RESOURCES;
    }
    *out = made;
    return SUCCESS;
}

API(nvmlGpmSampleFree)(void *sample) {
    ENTER();
    NEED(sample);
    pthread_mutex_lock(&gpm_lock);
    size_t index = find_sample(sample);
    if (index < GPM_SAMPLES) gpm_samples[index] = NULL;
    pthread_mutex_unlock(&gpm_lock);
    NEED(index < GPM_SAMPLES);
    free(sample);
    return SUCCESS;
}

static int fill_sample(void *device, uint32_t instance, void *sample) {
    struct gpm_sample filled = {.magic = GPM_SAMPLE_MAGIC, .filled = true, .instance = instance};
    uint32_t count = GPM_COUNTERS;
    ENTER();
    NEED(sample);
    int result = claimwrightReadGpmCounters(device, instance, filled.counters, &count);
    if (result != SUCCESS) return result;
    if (count != GPM_COUNTERS) return UNKNOWN;
    filled.number = slot_of(device);
    pthread_mutex_lock(&gpm_lock);
    bool known = find_sample(sample) < GPM_SAMPLES;
    if (known) memcpy(sample, &filled, sizeof filled);
    pthread_mutex_unlock(&gpm_lock);
    return known ? SUCCESS : INVALID_ARGUMENT;
}

API(nvmlGpmSampleGet)(void *device, void *sample) { return fill_sample(device, WHOLE_GPU, sample); }

API(nvmlGpmMigSampleGet)(void *device, unsigned instance, void *sample) {
    NEED(instance != WHOLE_GPU);
    return fill_sample(device, instance, sample);
}

struct gpm_kind {
    uint16_t first, last;
    enum gpm_counter counter; /* GPM_TIME: a rate or share that no load of ours has */
    const char *name, *unit;
};
static const struct gpm_kind gpm_kinds[] = {
    {1, 1, GPM_GPU, "Graphics Engine", "%"}, {2, 2, GPM_GPU, "SM Activity", "%"},
    {3, 3, GPM_GPU, "SM Occupancy", "%"}, {4, 9, GPM_TIME, "Pipe Activity", "%"},
    {10, 10, GPM_MEMORY, "DRAM Activity", "%"}, {11, 13, GPM_TIME, "Pipe Activity", "%"},
    {20, 21, GPM_TIME, "PCIe Traffic", "MiB/s"}, {30, 37, GPM_DECODER, "NVDEC", "%"},
    {40, 47, GPM_JPEG, "NVJPG", "%"}, {50, 51, GPM_OFA, "NVOFA", "%"}, {60, 97, GPM_TIME, "NVLink Traffic", "MiB/s"},
};

static void give_metric(const struct gpm_sample *first, const struct gpm_sample *second, struct gpm_metric *out) {
    out->result = INVALID_ARGUMENT;
    if (out->id && out->id < GPM_METRICS) out->result = NOT_SUPPORTED;
    for (size_t index = 0; index < COUNT_OF(gpm_kinds); index++) {
        const struct gpm_kind *kind = &gpm_kinds[index];
        if (out->id < kind->first || out->id > kind->last) continue;
        double passed = (double)(second->counters[GPM_TIME] - first->counters[GPM_TIME]);
        double done = kind->counter ? (double)(second->counters[kind->counter] - first->counters[kind->counter]) : 0;
        out->value = passed > 0 ? done / passed : 0;
        out->result = SUCCESS;
        out->info.short_name = out->info.long_name = kind->name;
        out->info.unit = kind->unit;
    }
}

API(nvmlGpmMetricsGet)(struct gpm_metrics_get *request) {
    struct gpm_sample first = {0}, second = {0};
    ENTER();
    NEED(request);
    NEED_VERSION(request->version, GPM_VERSION);
    NEED(request->count && request->count <= GPM_METRICS && request->first && request->second);
    pthread_mutex_lock(&gpm_lock);
    bool known = find_sample(request->first) < GPM_SAMPLES && find_sample(request->second) < GPM_SAMPLES;
    if (known) first = *request->first, second = *request->second;
    pthread_mutex_unlock(&gpm_lock);
    NEED(known && first.filled && second.filled);
    NEED(first.number == second.number && first.instance == second.instance);
    NEED(first.counters[GPM_TIME] <= second.counters[GPM_TIME]);
    for (uint32_t index = 0; index < request->count; index++) give_metric(&first, &second, &request->metrics[index]);
    return SUCCESS;
}
