/* -q: all rows of the chosen GPUs, or those of some sections. */

static const struct { const char *name; unsigned section; } sections[] = {
    {"MEMORY", MEMORY}, {"UTILIZATION", UTILIZATION}, {"ECC", ECC}, {"TEMPERATURE", TEMPERATURE}, {"POWER", POWER},
    {"CLOCK", CLOCK}, {"COMPUTE", COMPUTE}, {"PIDS", PIDS}, {"PERFORMANCE", PERFORMANCE},
    {"SUPPORTED_CLOCKS", SUPPORTED_CLOCKS}, {"PAGE_RETIREMENT", PAGE_RETIREMENT}, {"ACCOUNTING", ACCOUNTING},
    {"ENCODER_STATS", ENCODER_STATS}, {"SUPPORTED_GPU_TARGET_TEMP", SUPPORTED_GPU_TARGET_TEMP}, {"VOLTAGE", VOLTAGE},
    {"FBC_STATS", FBC_STATS}, {"ROW_REMAPPER", ROW_REMAPPER}, {"RESET_STATUS", RESET_STATUS},
    {"GSP_FIRMWARE_VERSION", GSP_FIRMWARE_VERSION}, {"POWER_SMOOTHING", POWER_SMOOTHING},
    {"POWER_PROFILES", POWER_PROFILES},
};

static unsigned find_section(const char *name) {
    for (size_t at = 0; at < COUNT_OF(sections); at++)
        if (!strcasecmp(name, sections[at].name)) return sections[at].section;
    return 0;
}

/* The bits of a list of names; 0 where a name is none, which is told of. */
static unsigned read_sections(const char *names) {
    char copy[1024], *rest = copy;
    unsigned found = 0;
    snprintf(copy, sizeof copy, "%s", names);
    for (char *name; (name = strsep(&rest, ","));) {
        unsigned section = find_section(name);
        if (!section) {
            printf("Invalid display type \"%s\". Expected one or more of, separated by commas:\n ", name);
            for (size_t at = 0; at < COUNT_OF(sections); at++) printf(" %s", sections[at].name);
            puts("");
            return 0;
        }
        found |= section;
    }
    return found;
}

static bool is_wanted(const struct row *row, const struct writer *out, unsigned wanted) {
    if (!(out->xml ? row->tag : row->label) && !row->list) return false;
    if (out->xml || row->depth > 1) return true;
    if (!wanted) return !(row->sections & ONLY_WHEN_ASKED);
    return row->sections & wanted & ~ONLY_WHEN_ASKED;
}

/* A group's heading, or what stands for a group that the GPU does not have: false then. */
static bool put_heading(struct writer *out, const struct row *row, void *gpu) {
    struct value unused = {0};
    int result = row->read ? row->read(gpu, row->function, row->selector, &unused) : OK;
    if (row->list)
        row->list(out, gpu);
    else if (result)
        put_leaf(out, row->tag, row->label, absence(result));
    else
        open_group(out, row->tag, row->label);
    return !row->list && !result;
}

static void put_row(struct writer *out, const struct row *row, void *gpu) {
    char text[320];
    int result = read_row(row, gpu, out->xml ? AS_XML : AS_TEXT, text, sizeof text);
    const char *unit = result ? "" : unit_of(row->style);
    if (*unit) snprintf(text + strlen(text), sizeof text - strlen(text), " %s", unit);
    put_leaf(out, row->tag, row->label, text);
}

static void put_gpu(struct writer *out, void *gpu, unsigned wanted) {
    const char *open[8] = {0};
    int base = out->depth, left_out = INT_MAX; /* rows deeper than this belong to a group that is left out */
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        const struct row *row = &rows[at];
        if (!row->depth || row->depth > left_out) continue;
        left_out = INT_MAX;
        while (out->depth > base + row->depth - 1) close_group(out, open[out->depth - base - 1]);
        if (!is_of_this_driver(row) || (row->when && !row->when(gpu)) || !is_wanted(row, out, wanted))
            left_out = row->group ? row->depth : INT_MAX;
        else if (!row->group)
            put_row(out, row, gpu);
        else if (put_heading(out, row, gpu))
            open[out->depth - base - 1] = row->tag;
        else
            left_out = row->depth;
    }
    while (out->depth > base) close_group(out, open[out->depth - base - 1]);
}

static void write_date(char *out, size_t size) {
    time_t clock = time(NULL);
    struct tm local;
    strftime(out, size, "%a %b %e %H:%M:%S %Y", localtime_r(&clock, &local));
}

static void write_cuda_version(char *out, size_t size) {
    int version = 0;
    CALL("nvmlSystemGetCudaDriverVersion_v2", (int *), &version);
    snprintf(out, size, "%d.%d", version / 1000, version % 1000 / 10);
}

static void put_head(struct writer *out) {
    char date[64], cuda[16];
    unsigned count = 0;
    write_date(date, sizeof date);
    write_cuda_version(cuda, sizeof cuda);
    count_gpus(&count);
    if (out->xml)
        printf("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v%d.dtd\">\n<nvidia_smi_log>\n",
               driver_branch >= 580000 ? 13 : 12);
    else
        puts("\n==============NVSMI LOG==============\n");
    out->depth = out->xml;
    put_leaf(out, "timestamp", "Timestamp", date);
    put_leaf(out, "driver_version", "Driver Version", driver_version);
    put_leaf(out, "cuda_version", "CUDA Version", cuda);
    if (!out->xml) puts("");
    put_number(out, "attached_gpus", "Attached GPUs", count, "");
}

static int show_log(bool xml, unsigned wanted) {
    struct writer out = {.xml = xml};
    put_head(&out);
    for (unsigned at = 0; at < chosen_count; at++) {
        if (xml)
            printf("\t<gpu id=\"%s\">\n", bus_id_of(chosen[at]));
        else
            printf("GPU %s\n", bus_id_of(chosen[at]));
        out.depth = xml + 1;
        put_gpu(&out, chosen[at], wanted);
        puts(xml ? "\t</gpu>\n" : "");
    }
    if (xml) puts("</nvidia_smi_log>");
    return OK;
}
