/* nvidia-smi mig: what the library says about profiles and instances. */

enum { GPU_PROFILES = 18, COMPUTE_PROFILES = 9, MOST_INSTANCES = 16 };

static int gpu_profile(void *gpu, unsigned kind, struct gpu_instance_profile *out) {
    *out = (struct gpu_instance_profile)VERSIONED(*out, 2);
    int result = CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void *, unsigned, void *), gpu, kind, out);
    const char *bare = profile_in(out->name);
    if (!strncmp(bare, "MIG ", 4)) bare += 4;
    memmove(out->name, bare, strlen(bare) + 1);
    return result;
}

static int gpu_profile_by_id(void *gpu, unsigned id, struct gpu_instance_profile *out) {
    for (unsigned kind = 0; kind < GPU_PROFILES; kind++)
        if (!gpu_profile(gpu, kind, out) && out->id == id) return OK;
    snprintf(out->name, sizeof out->name, "?");
    return NOT_FOUND;
}

static int compute_profile(void *instance, unsigned kind, struct compute_instance_profile *out) {
    *out = (struct compute_instance_profile)VERSIONED(*out, 2);
    int result = CALL("nvmlGpuInstanceGetComputeInstanceProfileInfoV", (void *, unsigned, unsigned, void *), instance, kind,
                      0u, out);
    const char *bare = profile_in(out->name);
    if (!strncmp(bare, "MIG ", 4)) bare += 4;
    memmove(out->name, bare, strlen(bare) + 1);
    return result;
}

static unsigned gpu_capacity(void *gpu, unsigned id) {
    unsigned left = 0;
    CALL("nvmlDeviceGetGpuInstanceRemainingCapacity", (void *, unsigned, unsigned *), gpu, id, &left);
    return left;
}

/* As the real tool lists them: small ones first, the plain one before its variants. */
static int by_size(const void *first, const void *second) {
    const struct gpu_instance_profile *one = first, *other = second;
    if (one->slices != other->slices) return one->slices < other->slices ? -1 : 1;
    if (one->memory_mib != other->memory_mib) return one->memory_mib < other->memory_mib ? -1 : 1;
    return one->id < other->id ? -1 : 1;
}

static unsigned gpu_profiles(void *gpu, struct gpu_instance_profile *out) {
    unsigned count = 0;
    for (unsigned kind = 0; kind < GPU_PROFILES; kind++) count += !gpu_profile(gpu, kind, &out[count]);
    qsort(out, count, sizeof *out, by_size);
    return count;
}

/* All GPU instances of a GPU, profile by profile. */
static unsigned gpu_instances(void *gpu, void **handles, struct gpu_instance *records) {
    struct gpu_instance_profile profiles[GPU_PROFILES];
    unsigned total = 0, kinds = gpu_profiles(gpu, profiles);
    for (unsigned kind = 0; kind < kinds; kind++) {
        void *these[MOST_INSTANCES];
        unsigned count = MOST_INSTANCES;
        if (CALL("nvmlDeviceGetGpuInstances", (void *, unsigned, void **, unsigned *), gpu, profiles[kind].id, these, &count))
            continue;
        for (unsigned at = 0; at < count && total < MOST_INSTANCES; at++) {
            handles[total] = these[at];
            total += !CALL("nvmlGpuInstanceGetInfo", (void *, void *), these[at], &records[total]);
        }
    }
    return total;
}

static unsigned compute_instances(void *instance, void **handles, struct compute_instance *records) {
    unsigned total = 0;
    for (unsigned kind = 0; kind < COMPUTE_PROFILES; kind++) {
        struct compute_instance_profile profile;
        void *these[MOST_INSTANCES];
        unsigned count = MOST_INSTANCES;
        if (compute_profile(instance, kind, &profile)) continue;
        if (CALL("nvmlGpuInstanceGetComputeInstances", (void *, unsigned, void **, unsigned *), instance, profile.id, these,
                 &count))
            continue;
        for (unsigned at = 0; at < count && total < MOST_INSTANCES; at++) {
            handles[total] = these[at];
            total += !CALL("nvmlComputeInstanceGetInfo_v2", (void *, void *), these[at], &records[total]);
        }
    }
    return total;
}
