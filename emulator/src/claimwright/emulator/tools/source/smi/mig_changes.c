/* nvidia-smi mig -c... and -d...: instances made and destroyed. */

/* One item of -cgi or -cci: a profile's id or name, and where to begin. */
struct wish {
    char profile[64];
    unsigned start;
    bool placed;
};

static bool read_wish(const char *item, struct wish *out) {
    item += strspn(item, " ");
    if (!strncasecmp(item, "MIG ", 4)) item += 4;
    if (snprintf(out->profile, sizeof out->profile, "%s", item) >= (int)sizeof out->profile) return false;
    char *colon = strchr(out->profile, ':');
    out->placed = colon != NULL;
    if (colon) *colon = 0;
    return *out->profile && (!colon || read_setting(colon + 1, 0, 255, &out->start));
}

static bool is_meant(const struct wish *wish, unsigned id, const char *name) {
    return is_number(wish->profile) ? (unsigned)atoi(wish->profile) == id : !strcasecmp(wish->profile, name);
}

static int find_gpu_profile(void *gpu, const struct wish *wish, struct gpu_instance_profile *out) {
    for (unsigned kind = 0; kind < GPU_PROFILES; kind++)
        if (!gpu_profile(gpu, kind, out) && is_meant(wish, out->id, out->name)) return OK;
    printf("\"%s\" is no GPU instance profile of GPU %u; `nvidia-smi mig -lgip` lists them.\n", wish->profile, index_of(gpu));
    return INVALID_ARGUMENT;
}

static int create_compute(void *gpu, void *handle, const struct gpu_instance *record, const struct wish *wish) {
    struct compute_instance_profile has;
    struct gpu_instance_profile whole;
    struct compute_instance made;
    void *created = NULL;
    int result = NOT_FOUND;
    gpu_profile_by_id(gpu, record->profile, &whole);
    for (unsigned kind = 0; kind < COMPUTE_PROFILES && result; kind++)
        if (!compute_profile(handle, kind, &has))
            result = (wish ? is_meant(wish, has.id, has.name) : has.slices == whole.slices) ? OK : NOT_FOUND;
    if (result) {
        printf("\"%s\" is no compute instance profile of GPU instance %u; `nvidia-smi mig -lcip` lists them.\n",
               wish ? wish->profile : "", record->id);
        return INVALID_ARGUMENT;
    }
    struct placement place = {wish ? wish->start : 0, has.slices};
    result = wish && wish->placed
                 ? CALL("nvmlGpuInstanceCreateComputeInstanceWithPlacement", (void *, unsigned, void *, void **), handle,
                        has.id, &place, &created)
                 : CALL("nvmlGpuInstanceCreateComputeInstance", (void *, unsigned, void **), handle, has.id, &created);
    if (!result) result = CALL("nvmlComputeInstanceGetInfo_v2", (void *, void *), created, &made);
    if (result) {
        printf("Unable to create a compute instance on GPU %2u GPU instance ID %2u using profile %u: %s\nFailed to create "
               "compute instances: %s\n", index_of(gpu), record->id, has.id, error_text(result), error_text(result));
        return result;
    }
    printf("Successfully created compute instance ID %2u on GPU %2u GPU instance ID %2u using profile MIG %s (ID %2u)\n",
           made.id, index_of(gpu), record->id, has.name, has.id);
    return OK;
}

static int create_gpu_instance(void *gpu, const struct wish *wish, bool with_compute) {
    struct gpu_instance_profile has;
    struct gpu_instance made;
    void *created = NULL;
    int result = find_gpu_profile(gpu, wish, &has);
    if (result) return result;
    struct placement places[64], place = {wish->start, 0};
    unsigned count = COUNT_OF(places);
    CALL("nvmlDeviceGetGpuInstancePossiblePlacements_v2", (void *, unsigned, void *, unsigned *), gpu, has.id, places, &count);
    place.size = places[0].size;
    result = wish->placed ? CALL("nvmlDeviceCreateGpuInstanceWithPlacement", (void *, unsigned, void *, void **), gpu, has.id,
                                 &place, &created)
                          : CALL("nvmlDeviceCreateGpuInstance", (void *, unsigned, void **), gpu, has.id, &created);
    if (!result) result = CALL("nvmlGpuInstanceGetInfo", (void *, void *), created, &made);
    if (result) {
        printf("Unable to create a GPU instance on GPU %2u using profile %u: %s\nFailed to create GPU instances: %s\n",
               index_of(gpu), has.id, error_text(result), error_text(result));
        return result;
    }
    printf("Successfully created GPU instance ID %2u on GPU %2u using profile MIG %s (ID %2u)\n", made.id, index_of(gpu),
           has.name, has.id);
    return with_compute ? create_compute(gpu, created, &made, NULL) : OK;
}

static int each_wish(const char *list, int (*act)(const struct wish *, const void *), const void *with) {
    char copy[1024], *rest = copy;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *item; (item = strsep(&rest, ","));) {
        struct wish wish = {0};
        if (!read_wish(item, &wish))
            return refuse("profile", item, "a profile's id or name, with :START for a placement, such as 19, 1g.10gb or 9:4");
        int result = act(&wish, with);
        if (result) return result;
    }
    return OK;
}

static int create_on_each(const struct wish *wish, const void *with_compute) {
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = create_gpu_instance(chosen[at], wish, with_compute != NULL);
        if (result) return result;
    }
    return OK;
}

static int create_gpu_instances(const char *list, bool with_compute) {
    unsigned in_mode = 0;
    for (unsigned at = 0; at < chosen_count; at++)
        if (is_in_mig_mode(chosen[at])) chosen[in_mode++] = chosen[at];
    chosen_count = in_mode;
    if (in_mode) return each_wish(list, create_on_each, with_compute ? list : NULL);
    puts("No MIG-enabled devices found. Enable MIG mode with -mig 1 first.");
    return NOT_FOUND;
}

static int create_in(void *gpu, void *handle, const struct gpu_instance *record, const void *wish) {
    return create_compute(gpu, handle, record, wish);
}

static int create_in_each(const struct wish *wish, const void *ids) { return each_instance(ids, create_in, wish); }

/* Without a profile: the one that takes the whole GPU instance. */
static int create_compute_instances(const char *list, const char *ids) {
    return list && *list ? each_wish(list, create_in_each, ids) : each_instance(ids, create_in, NULL);
}

static int destroy_gpu_instance(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    (void)with;
    int result = CALL("nvmlGpuInstanceDestroy", (void *), handle);
    if (result)
        printf("Unable to destroy GPU instance ID %2u from GPU %2u: %s\nFailed to destroy GPU instances: %s\n", record->id,
               index_of(gpu), error_text(result), error_text(result));
    else
        printf("Successfully destroyed GPU instance ID %2u from GPU %2u\n", record->id, index_of(gpu));
    if (result == IN_USE) puts("Destroy its compute instances first (-dci), and stop their processes.");
    return result;
}

static int destroy_compute(void *gpu, void *handle, const struct gpu_instance *record, const void *ids) {
    void *handles[MOST_INSTANCES];
    struct compute_instance records[MOST_INSTANCES];
    unsigned count = compute_instances(handle, handles, records);
    for (unsigned at = 0; at < count; at++) {
        if (!is_listed(ids, records[at].id)) continue;
        int result = CALL("nvmlComputeInstanceDestroy", (void *), handles[at]);
        if (result) {
            printf("Unable to destroy compute instance ID %2u from GPU %2u GPU instance ID %2u: %s\nFailed to destroy "
                   "compute instances: %s\n", records[at].id, index_of(gpu), record->id, error_text(result),
                   error_text(result));
            return result;
        }
        printf("Successfully destroyed compute instance ID %2u from GPU %2u GPU instance ID %2u\n", records[at].id,
               index_of(gpu), record->id);
    }
    return OK;
}

static int destroy_compute_instances(const char *gpu_instances, const char *ids) {
    int result = find_compute(gpu_instances, ids);
    return result ? result : each_instance(gpu_instances, destroy_compute, ids);
}
