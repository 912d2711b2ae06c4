/* nvidia-smi vgpu -s and -c: the types that a GPU offers, and those that it has room for. */

enum { MOST_TYPES = 256 };

typedef int (*list_call)(void *, unsigned *, unsigned *);

/* The ids that a function lists for a GPU: types or vGPUs. */
static int list_ids(void *gpu, const char *function, unsigned *ids, unsigned *count) {
    list_call call = (list_call)find_call(function);
    return call ? call(gpu, count, ids) : FUNCTION_NOT_FOUND;
}

static bool is_vgpu_host(void *gpu) {
    unsigned ids[MOST_TYPES], count = MOST_TYPES;
    return !list_ids(gpu, "nvmlDeviceGetSupportedVgpus", ids, &count);
}

static int choose_vgpu_hosts(void) {
    unsigned hosts = 0;
    for (unsigned at = 0; at < chosen_count; at++)
        if (is_vgpu_host(chosen[at])) chosen[hosts++] = chosen[at];
    chosen_count = hosts;
    if (hosts) return OK;
    puts("No supported devices in vGPU mode");
    return NOT_SUPPORTED;
}

static void name_type(unsigned type, char *out, unsigned size) {
    if (CALL("nvmlVgpuTypeGetName", (unsigned, char *, unsigned *), type, out, &size)) snprintf(out, size, "?");
}

/* A number of a type or of a vGPU; the text that stands for it where there is none. */
static void put_told(struct writer *out, const char *label, int result, uint64_t number, const char *unit) {
    if (result)
        put_leaf(out, NULL, label, absence(result));
    else
        put_number(out, NULL, label, number, unit);
}

static void put_asked(struct writer *out, const char *label, const char *function, unsigned id, const char *unit) {
    unsigned number = 0;
    int result = CALL(function, (unsigned, unsigned *), id, &number);
    put_told(out, label, result || number == UINT_MAX ? (result ? result : NOT_SUPPORTED) : OK, number, unit);
}

static void put_asked_text(struct writer *out, const char *label, const char *function, unsigned id) {
    char text[160] = "";
    int result = CALL(function, (unsigned, char *, unsigned), id, text, (unsigned)sizeof text);
    put_leaf(out, NULL, label, result ? absence(result) : text);
}

static void put_type_limits(struct writer *out, void *gpu, unsigned type) {
    struct { unsigned version, type, most; } shared = {.version = sizeof shared | 1u << 24, .type = type};
    unsigned most = 0;
    int result = CALL("nvmlVgpuTypeGetMaxInstances", (void *, unsigned, unsigned *), gpu, type, &most);
    put_told(out, "Max Instances", result, most, "");
    put_asked(out, "Max Instances Per VM", "nvmlVgpuTypeGetMaxInstancesPerVm", type, "");
    result = CALL("nvmlVgpuTypeGetMaxInstancesPerGpuInstance", (void *), &shared);
    put_told(out, "Max Instances Per GI", result, shared.most, "");
}

static void put_type_ids(struct writer *out, unsigned type) {
    uint64_t device = 0, subsystem = 0;
    char text[32];
    int result = CALL("nvmlVgpuTypeGetDeviceID", (unsigned, uint64_t *, uint64_t *), type, &device, &subsystem);
    snprintf(text, sizeof text, "0x%08" PRIX64, device);
    put_leaf(out, NULL, "Device ID", result ? absence(result) : text);
    snprintf(text, sizeof text, "0x%08" PRIX64, subsystem);
    put_leaf(out, NULL, "Sub System ID", result ? absence(result) : text);
}

static void put_type_display(struct writer *out, unsigned type) {
    unsigned width = 0, height = 0;
    int result = CALL("nvmlVgpuTypeGetResolution", (unsigned, unsigned, unsigned *, unsigned *), type, 0u, &width, &height);
    put_asked(out, "Display Heads", "nvmlVgpuTypeGetNumDisplayHeads", type, "");
    put_told(out, "Maximum X Resolution", result, width, "");
    put_told(out, "Maximum Y Resolution", result, height, "");
    put_asked(out, "Frame Rate Limit", "nvmlVgpuTypeGetFrameRateLimit", type, " FPS");
}

static void explain_type(struct writer *out, void *gpu, unsigned type) {
    char text[160];
    unsigned size = sizeof text;
    uint64_t bytes = 0;
    snprintf(text, sizeof text, "0x%x", type);
    put_leaf(out, NULL, "vGPU Type ID", text);
    out->depth++;
    name_type(type, text, sizeof text);
    put_leaf(out, NULL, "Name", text);
    int result = CALL("nvmlVgpuTypeGetClass", (unsigned, char *, unsigned *), type, text, &size);
    put_leaf(out, NULL, "Class", result ? absence(result) : text);
    put_asked(out, "GPU Instance Profile ID", "nvmlVgpuTypeGetGpuInstanceProfileId", type, "");
    put_type_limits(out, gpu, type);
    put_type_ids(out, type);
    result = CALL("nvmlVgpuTypeGetFramebufferSize", (unsigned, uint64_t *), type, &bytes);
    put_told(out, "FB Memory", result, mebibytes(bytes), " MiB");
    put_type_display(out, type);
    put_asked_text(out, "GRID License", "nvmlVgpuTypeGetLicense", type);
    out->depth--;
}

static int list_types(const char *function, bool all) {
    struct writer out = {.depth = 1};
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned types[MOST_TYPES], count = MOST_TYPES;
        int result = list_ids(chosen[at], function, types, &count);
        if (result) return complain(result);
        printf("GPU %s\n", bus_id_of(chosen[at]));
        for (unsigned one = 0; one < count; one++) {
            char name[96];
            name_type(types[one], name, sizeof name);
            if (all)
                explain_type(&out, chosen[at], types[one]);
            else
                printf("    %s\n", name);
        }
        puts("");
    }
    return OK;
}
