/* nvidia-smi mig -l...: profiles, placements and instances as tables. */

static void boxed(int width, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of a table: as wide as its rules, whatever is in it. */
static void boxed(int width, const char *format, ...) {
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    printf("|%-*.*s|\n", width, width, text);
}

static void rule(int width, char mark) {
    putchar(mark == '=' ? '|' : '+');
    for (int at = 0; at < width; at++) putchar(mark);
    puts(mark == '=' ? "|" : "+");
}

static void show_profile(void *gpu, const struct gpu_instance_profile *has) {
    char free[24];
    snprintf(free, sizeof free, "%u/%u", gpu_capacity(gpu, has->id), has->instances);
    boxed(79, " %3u  MIG %-15.15s %2u     %3s        %-7.2f    %-3s   %3u   %3u   %3u", index_of(gpu), has->name, has->id,
          free, (double)has->memory_mib / 1024, has->p2p ? "Yes" : "No", has->multiprocessors, has->decoders, has->encoders);
    boxed(79, "%64u   %3u   %3u", has->copy_engines, has->jpeg_engines, has->ofa_engines);
    rule(79, '-');
}

static int list_profiles(void) {
    bool any = false;
    rule(79, '-');
    puts("| GPU instance profiles:                                                        |");
    puts("| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |");
    puts("|                                Free/Total   GiB              CE    JPEG  OFA  |");
    rule(79, '=');
    for (unsigned at = 0; at < chosen_count; at++) {
        struct gpu_instance_profile profiles[GPU_PROFILES];
        unsigned count = gpu_profiles(chosen[at], profiles);
        for (unsigned one = 0; one < count; one++) show_profile(chosen[at], &profiles[one]);
        any |= count > 0;
    }
    if (any) return OK;
    puts("| No GPU of those asked for can be partitioned.                                 |");
    rule(79, '-');
    return NOT_SUPPORTED;
}

static void put_placements(const struct placement *places, unsigned count) {
    printf("Placement%s: {", count == 1 ? " " : "s");
    for (unsigned at = 0; at < count; at++) printf("%s%u", at ? "," : "", places[at].start);
    printf("}:%u\n", count ? places[0].size : 0);
}

static int show_placements(void *gpu, unsigned profile) {
    struct placement places[64];
    unsigned count = COUNT_OF(places);
    int result = CALL("nvmlDeviceGetGpuInstancePossiblePlacements_v2", (void *, unsigned, void *, unsigned *), gpu, profile,
                      places, &count);
    if (result) return complain(result);
    printf("GPU %2u Profile ID %2u ", index_of(gpu), profile);
    put_placements(places, count);
    return OK;
}

static int list_placements(void) {
    bool any = false;
    int result = OK;
    for (unsigned at = 0; at < chosen_count; at++) {
        struct gpu_instance_profile profiles[GPU_PROFILES];
        unsigned count = gpu_profiles(chosen[at], profiles);
        for (unsigned one = 0; !result && one < count; one++) result = show_placements(chosen[at], profiles[one].id);
        any |= count > 0;
    }
    if (!any) puts("No GPU of those asked for can be partitioned.");
    return any ? result : NOT_SUPPORTED;
}

/* Runs over the instances of all chosen GPUs, or of those listed with -gi. */
typedef int (*instance_step)(void *gpu, void *handle, const struct gpu_instance *record, const void *with);

static bool is_listed(const char *ids, unsigned id) {
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%u", id);
    for (const char *at = ids; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, wanted, strlen(wanted)) && strchr(",", at[strlen(wanted)])) return true;
    return !ids;
}

static int each_instance(const char *ids, instance_step step, const void *with) {
    unsigned found = 0;
    for (unsigned at = 0; at < chosen_count; at++) {
        void *handles[MOST_INSTANCES];
        struct gpu_instance records[MOST_INSTANCES];
        unsigned count = gpu_instances(chosen[at], handles, records);
        for (unsigned one = 0; one < count; one++) {
            if (!is_listed(ids, records[one].id)) continue;
            found++;
            int result = step(chosen[at], handles[one], &records[one], with);
            if (result) return result;
        }
    }
    if (found) return OK;
    bool in_mode = false;
    for (unsigned at = 0; at < chosen_count; at++) in_mode |= is_in_mig_mode(chosen[at]);
    puts(in_mode ? "No GPU instances found: Not Found" : "No MIG-enabled devices found.");
    return NOT_FOUND;
}

static int show_instance(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    struct gpu_instance_profile profile;
    (void)handle, (void)with;
    gpu_profile_by_id(gpu, record->profile, &profile);
    boxed(57, " %3u  MIG %-17.17s%3u%9u%11u:%u", index_of(gpu), profile.name, record->profile, record->id,
          record->placement.start, record->placement.size);
    rule(57, '-');
    return OK;
}

static int count_step(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    (void)gpu, (void)handle, (void)record, (void)with;
    return OK;
}

static int list_gpu_instances(void) {
    int result = each_instance(NULL, count_step, NULL);
    if (result) return result;
    rule(57, '-');
    puts("| GPU instances:                                          |");
    puts("| GPU   Name               Profile  Instance   Placement  |");
    puts("|                            ID       ID       Start:Size |");
    rule(57, '=');
    return each_instance(NULL, show_instance, NULL);
}

static int show_compute_profiles(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    (void)with;
    for (unsigned kind = 0; kind < COMPUTE_PROFILES; kind++) {
        struct compute_instance_profile has;
        unsigned left = 0;
        char free[24];
        if (compute_profile(handle, kind, &has)) continue;
        CALL("nvmlGpuInstanceGetComputeInstanceRemainingCapacity", (void *, unsigned, unsigned *), handle, has.id, &left);
        struct gpu_instance_profile whole;
        gpu_profile_by_id(gpu, record->profile, &whole);
        snprintf(free, sizeof free, "%u/%u", left, has.instances);
        boxed(86, " %3u  %5u       MIG %-15.15s%3u%c%8s%13u%9u%6u%6u", index_of(gpu), record->id, has.name, has.id,
              has.slices == whole.slices ? '*' : ' ', free, has.multiprocessors, has.decoders, has.encoders, has.ofa_engines);
        boxed(86, "%71u   %3u", has.copy_engines, has.jpeg_engines);
        rule(86, '-');
    }
    return OK;
}

static int list_compute_profiles(const char *ids) {
    int result = each_instance(ids, count_step, NULL);
    if (result) return result;
    rule(86, '-');
    puts("| Compute instance profiles:                                                           |");
    puts("| GPU     GPU       Name             Profile  Instances   Exclusive       Shared       |");
    puts("|       Instance                       ID     Free/Total     SM       DEC   ENC   OFA  |");
    puts("|         ID                                                          CE    JPEG       |");
    rule(86, '=');
    return each_instance(ids, show_compute_profiles, NULL);
}

static int show_compute_placements(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    (void)with;
    for (unsigned kind = 0; kind < COMPUTE_PROFILES; kind++) {
        struct compute_instance_profile has;
        struct placement places[64];
        unsigned count = COUNT_OF(places);
        if (compute_profile(handle, kind, &has)) continue;
        if (CALL("nvmlGpuInstanceGetComputeInstancePossiblePlacements", (void *, unsigned, void *, unsigned *), handle,
                 has.id, places, &count))
            continue;
        printf("GPU %2u GI %2u Profile ID %2u ", index_of(gpu), record->id, has.id);
        put_placements(places, count);
    }
    return OK;
}

static int show_compute_instances(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    void *handles[MOST_INSTANCES];
    struct compute_instance records[MOST_INSTANCES];
    unsigned count = compute_instances(handle, handles, records);
    (void)with;
    for (unsigned at = 0; at < count; at++) {
        char name[96] = "?";
        for (unsigned kind = 0; kind < COMPUTE_PROFILES; kind++) {
            struct compute_instance_profile has;
            if (!compute_profile(handle, kind, &has) && has.id == records[at].profile)
                snprintf(name, sizeof name, "%s", has.name);
        }
        boxed(68, " %3u  %5u       MIG %-15.15s%3u%10u%11u:%u", index_of(gpu), record->id, name, records[at].profile,
              records[at].id, records[at].placement.start, records[at].placement.size);
        rule(68, '-');
    }
    return OK;
}

struct compute_search {
    const char *ids; /* NULL for all */
    unsigned *found;
};

static int count_compute(void *gpu, void *handle, const struct gpu_instance *record, const void *with) {
    const struct compute_search *search = with;
    void *handles[MOST_INSTANCES];
    struct compute_instance records[MOST_INSTANCES];
    unsigned count = compute_instances(handle, handles, records);
    (void)gpu, (void)record;
    for (unsigned at = 0; at < count; at++) *search->found += is_listed(search->ids, records[at].id);
    return OK;
}

/* Whether any of the compute instances asked for is there; it is said where none is. */
static int find_compute(const char *gpu_instances, const char *ids) {
    unsigned found = 0;
    int result = each_instance(gpu_instances, count_compute, &(struct compute_search){ids, &found});
    if (result || found) return result;
    puts("No compute instances found: Not Found");
    return NOT_FOUND;
}

static int list_compute_instances(const char *ids) {
    int result = find_compute(ids, NULL);
    if (result) return result;
    rule(68, '-');
    puts("| Compute instances:                                                 |");
    puts("| GPU     GPU       Name             Profile   Instance   Placement  |");
    puts("|       Instance                       ID        ID       Start:Size |");
    puts("|         ID                                                         |");
    rule(68, '=');
    return each_instance(ids, show_compute_instances, NULL);
}
