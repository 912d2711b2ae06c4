/* nvidia-smi mig: profiles, and instances made and destroyed. */

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

static int by_start(const void *first, const void *second) {
    return (int)((const struct gpu_instance *)first)->id - (int)((const struct gpu_instance *)second)->id;
}

/* All GPU instances of a GPU, in the order of their ids; the library lists them profile by profile. */
static unsigned gpu_instances(void *gpu, void **handles, struct gpu_instance *records) {
    struct { struct gpu_instance record; void *handle; } found[MOST_INSTANCES];
    unsigned total = 0;
    for (unsigned kind = 0; kind < GPU_PROFILES; kind++) {
        struct gpu_instance_profile profile;
        void *these[MOST_INSTANCES];
        unsigned count = MOST_INSTANCES;
        if (gpu_profile(gpu, kind, &profile)) continue;
        if (CALL("nvmlDeviceGetGpuInstances", (void *, unsigned, void **, unsigned *), gpu, profile.id, these, &count)) continue;
        for (unsigned at = 0; at < count && total < MOST_INSTANCES; at++) {
            found[total].handle = these[at];
            total += !CALL("nvmlGpuInstanceGetInfo", (void *, void *), these[at], &found[total].record);
        }
    }
    qsort(found, total, sizeof *found, by_start);
    for (unsigned at = 0; at < total; at++) handles[at] = found[at].handle, records[at] = found[at].record;
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
    char place[24];
    (void)handle, (void)with;
    gpu_profile_by_id(gpu, record->profile, &profile);
    snprintf(place, sizeof place, "%u:%u", record->placement.start, record->placement.size);
    boxed(57, " %3u  MIG %-16.16s %3u      %3u        %6s", index_of(gpu), profile.name, record->profile, record->id, place);
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
    puts("| GPU   Name             Profile  Instance   Placement    |");
    puts("|                          ID       ID       Start:Size   |");
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
        boxed(81, " %3u   %4u     MIG %-15.15s  %2u%c    %5s       %4u    %4u  %4u  %4u", index_of(gpu), record->id, has.name,
              has.id, has.slices == whole.slices ? '*' : ' ', free, has.multiprocessors, has.decoders, has.encoders,
              has.ofa_engines);
        boxed(81, "%68u  %4u", has.copy_engines, has.jpeg_engines);
        rule(81, '-');
    }
    return OK;
}

static int list_compute_profiles(const char *ids) {
    int result = each_instance(ids, count_step, NULL);
    if (result) return result;
    rule(81, '-');
    puts("| Compute instance profiles:                                                      |");
    puts("| GPU    GPU      Name             Profile  Instances   Exclusive      Shared     |");
    puts("|      Instance                      ID     Free/Total     SM     DEC   ENC   OFA |");
    puts("|        ID                                                       CE    JPEG      |");
    rule(81, '=');
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
        char name[96] = "?", place[24];
        for (unsigned kind = 0; kind < COMPUTE_PROFILES; kind++) {
            struct compute_instance_profile has;
            if (!compute_profile(handle, kind, &has) && has.id == records[at].profile)
                snprintf(name, sizeof name, "%s", has.name);
        }
        snprintf(place, sizeof place, "%u:%u", records[at].placement.start, records[at].placement.size);
        boxed(68, " %3u  %5u       MIG %-15.15s  %3u       %3u         %6s", index_of(gpu), record->id, name, records[at].profile,
              records[at].id, place);
        rule(68, '-');
    }
    return OK;
}

static int list_compute_instances(const char *ids) {
    int result = each_instance(ids, count_step, NULL);
    if (result) return result;
    rule(68, '-');
    puts("| Compute instances:                                                 |");
    puts("| GPU     GPU       Name             Profile   Instance   Placement  |");
    puts("|       Instance                       ID        ID       Start:Size |");
    puts("|         ID                                                         |");
    rule(68, '=');
    return each_instance(ids, show_compute_instances, NULL);
}

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
