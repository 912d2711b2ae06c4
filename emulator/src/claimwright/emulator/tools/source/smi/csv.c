/* --query-gpu and its sisters: properties by name, one line for each thing, as CSV. */

enum { MOST_COLUMNS = 256, MOST_CELL = 512 };

struct format {
    bool heads, units;
};

/* Each word once; csv among them, as the real tool asks for. */
static bool read_format(const char *option, const char *text, struct format *out) {
    char copy[64], *rest = copy;
    bool csv = false, known = true;
    *out = (struct format){true, true};
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    for (char *word; known && (word = strsep(&rest, ","));) {
        if (!strcmp(word, "csv"))
            csv = true;
        else if (!strcmp(word, "noheader"))
            out->heads = false;
        else if (!strcmp(word, "nounits"))
            out->units = false;
        else
            known = false;
    }
    if (csv && known) return true;
    printf("\"%s\" switch is missing a valid \"--format=\" switch: expected --format=csv[,noheader][,nounits], found \"%s\".\n",
           option, text ? text : "");
    return false;
}

/* Whether a blank-separated list holds a name. */
static bool has_name(const char *names, const char *wanted) {
    size_t length = strlen(wanted);
    for (const char *at = names; at && length && (at = strstr(at, wanted)); at++)
        if ((at == names || at[-1] == ' ') && (!at[length] || at[length] == ' ')) return true;
    return false;
}

/* The row of this driver, or else the row of an older or newer one: a property outlives its leaf. */
static const struct row *find_row(const char *name) {
    const struct row *other = NULL;
    for (size_t at = 0; at < COUNT_OF(rows); at++) {
        if (!has_name(rows[at].query, name)) continue;
        if (is_of_this_driver(&rows[at])) return &rows[at];
        other = &rows[at];
    }
    return other;
}

/* Splits "a, b" in place; the number of names, or -1 where there are none or too many. */
static int split_names(char *text, char *names[MOST_COLUMNS]) {
    int count = 0;
    for (char *name; (name = strsep(&text, ","));) {
        name += strspn(name, " ");
        name[strcspn(name, " ")] = 0;
        if (count == MOST_COLUMNS) return -1;
        names[count++] = name;
    }
    return count;
}

static int refuse_field(const char *name, const char *help) {
    printf("Field \"%s\" is not a valid field to query.\n`nvidia-smi %s` lists those that are.\n\n", name, help);
    return INVALID_ARGUMENT;
}

static void put_head_cell(int at, const char *name, const char *unit) {
    printf("%s%s", at ? ", " : "", name);
    if (*unit) printf(" [%s]", unit);
}

static void read_cell(const struct row *row, void *gpu, bool units, char *out, size_t size) {
    char text[MOST_CELL - 16];
    int result = read_row(row, gpu, AS_CSV, text, sizeof text);
    const char *unit = units && !result ? csv_unit_of(row->style) : "";
    snprintf(out, size, result || row->style == DEPRECATED ? "[%s]" : *unit ? "%s %s" : "%s", text, unit);
}

/* A property of a GPU by its name; "N/A" where it has none. */
static void read_property(void *gpu, const char *name, char *out, size_t size) {
    read_cell(find_row(name), gpu, false, out, size);
    if (*out == '[') snprintf(out, size, "N/A");
}

static int query_gpus(const char *text, const struct format *format) {
    const struct row *columns[MOST_COLUMNS];
    char copy[8192], *names[MOST_COLUMNS], cell[MOST_CELL];
    snprintf(copy, sizeof copy, "%s", text);
    int count = split_names(copy, names);
    for (int at = 0; at < count; at++)
        if (!(columns[at] = find_row(names[at]))) return refuse_field(names[at], "--help-query-gpu");
    if (count < 1) return refuse_field(text, "--help-query-gpu");
    for (int at = 0; format->heads && at < count; at++) put_head_cell(at, names[at], csv_unit_of(columns[at]->style));
    if (format->heads) puts("");
    for (unsigned gpu = 0; gpu < chosen_count; gpu++)
        for (int at = 0; at < count; at++) {
            read_cell(columns[at], chosen[gpu], format->units, cell, sizeof cell);
            printf("%s%s%s", at ? ", " : "", cell, at == count - 1 ? "\n" : "");
        }
    return OK;
}

/* What the other queries list: a GPU, and one of its processes, pages or clocks. */
struct entry {
    void *gpu;
    struct process process;
    struct accounting accounted;
    uint64_t address;
    const char *cause;
    unsigned memory_clock, graphics_clock;
};

struct entry_field {
    const char *names, *unit, *help;
    void (*write)(const struct entry *entry, char *out, size_t size);
};

struct entry_query {
    const char *option, *help_option;
    const struct entry_field *fields;
    size_t count;
    void (*each)(void *gpu, void (*put)(const struct entry *));
};

static void write_pid(const struct entry *entry, char *out, size_t size) { snprintf(out, size, "%u", entry->process.pid); }
static void write_name(const struct entry *entry, char *out, size_t size) { name_process(entry->process.pid, out, size); }
static void write_used(const struct entry *entry, char *out, size_t size) {
    write_process_memory(entry->process.bytes, "", out, size);
    if (entry->process.bytes == UINT64_MAX) snprintf(out, size, "[N/A]");
}
static void write_gpu_share(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%u", entry->accounted.gpu_percent);
}
static void write_memory_share(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%u", entry->accounted.memory_percent);
}
static void write_most(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%" PRIu64, mebibytes(entry->accounted.most_bytes));
}
static void write_duration(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%" PRIu64, entry->accounted.milliseconds);
}
static void write_address(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "0x%016" PRIx64, entry->address);
}
static void write_cause(const struct entry *entry, char *out, size_t size) { snprintf(out, size, "%s", entry->cause); }
static void write_memory_clock(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%u", entry->memory_clock);
}
static void write_graphics_clock(const struct entry *entry, char *out, size_t size) {
    snprintf(out, size, "%u", entry->graphics_clock);
}

static const struct entry_field process_fields[] = {
    {"pid", "", "Process id.", write_pid},
    {"process_name name", "", "Command line of the process.", write_name},
    {"used_gpu_memory used_memory", "MiB", "Memory that the process allocated on the GPU.", write_used},
};
static const struct entry_field accounted_fields[] = {
    {"pid", "", "Process id.", write_pid},
    {"gpu_utilization gpu_util", "%", "Share of its life in which the process ran kernels.", write_gpu_share},
    {"mem_utilization mem_util", "%", "Share of its life in which the process used memory.", write_memory_share},
    {"max_memory_usage max_mem_usage", "MiB", "The most memory that the process had.", write_most},
    {"time", "ms", "For how long the process used the GPU.", write_duration},
};
static const struct entry_field page_fields[] = {
    {"retired_pages.address", "", "Address of the page.", write_address},
    {"retired_pages.cause", "", "Why it was retired.", write_cause},
};
static const struct entry_field clock_fields[] = {
    {"memory mem", "MHz", "Memory clock.", write_memory_clock},
    {"graphics gr", "MHz", "Graphics clock allowed with it.", write_graphics_clock},
};

static void each_process(void *gpu, void (*put)(const struct entry *)) {
    static struct process found[MOST_PROCESSES];
    int result;
    unsigned count = find_processes(gpu, "nvmlDeviceGetComputeRunningProcesses_v3", found, &result);
    for (unsigned at = 0; at < count; at++) put(&(struct entry){.gpu = gpu, .process = found[at]});
}

static void each_accounted(void *gpu, void (*put)(const struct entry *)) {
    static unsigned pids[4096];
    unsigned count = COUNT_OF(pids);
    if (CALL("nvmlDeviceGetAccountingPids", (void *, unsigned *, unsigned *), gpu, &count, pids)) return;
    for (unsigned at = 0; at < count; at++) {
        struct entry entry = {.gpu = gpu, .process = {.pid = pids[at]}};
        if (!CALL("nvmlDeviceGetAccountingStats", (void *, unsigned, void *), gpu, pids[at], &entry.accounted)) put(&entry);
    }
}

static void each_page(void *gpu, void (*put)(const struct entry *)) {
    static const char *const causes[] = {"Single Bit ECC", "Double Bit ECC"};
    for (unsigned cause = 0; cause < COUNT_OF(causes); cause++) {
        uint64_t pages[64];
        unsigned count = COUNT_OF(pages);
        if (CALL("nvmlDeviceGetRetiredPages", (void *, unsigned, unsigned *, uint64_t *), gpu, cause, &count, pages)) continue;
        for (unsigned at = 0; at < count; at++) put(&(struct entry){.gpu = gpu, .address = pages[at], .cause = causes[cause]});
    }
}

static void each_clock(void *gpu, void (*put)(const struct entry *)) {
    unsigned memory[64], memories = COUNT_OF(memory), graphics[1024];
    if (CALL("nvmlDeviceGetSupportedMemoryClocks", (void *, unsigned *, unsigned *), gpu, &memories, memory)) return;
    for (unsigned one = 0; one < memories; one++) {
        unsigned count = COUNT_OF(graphics);
        if (CALL("nvmlDeviceGetSupportedGraphicsClocks", (void *, unsigned, unsigned *, unsigned *), gpu, memory[one],
                 &count, graphics))
            continue;
        for (unsigned at = 0; at < count; at++)
            put(&(struct entry){.gpu = gpu, .memory_clock = memory[one], .graphics_clock = graphics[at]});
    }
}

static void each_remapped(void *gpu, void (*put)(const struct entry *)) {
    struct value unused;
    if (!read_remapped(gpu, "", 0, &unused)) put(&(struct entry){.gpu = gpu});
}

#define QUERY(option, fields, each) {"--query-" option, "--help-query-" option, fields, COUNT_OF(fields), each}
static const struct entry_query entry_queries[] = {
    QUERY("compute-apps", process_fields, each_process),
    QUERY("accounted-apps", accounted_fields, each_accounted),
    QUERY("retired-pages", page_fields, each_page),
    QUERY("supported-clocks", clock_fields, each_clock),
    {"--query-remapped-rows", "--help-query-remapped-rows", NULL, 0, each_remapped},
};

/* Every such query can also name the GPU itself; remapped rows are properties of it. */
static const char *const gpu_properties[] = {"timestamp", "gpu_name", "gpu_bus_id", "gpu_serial", "gpu_uuid"};

static const struct row *gpu_property(const struct entry_query *query, const char *name) {
    for (size_t at = 0; at < COUNT_OF(gpu_properties); at++)
        if (!strcmp(name, gpu_properties[at])) return find_row(name);
    return !query->fields && !strncmp(name, "remapped_rows.", 14) ? find_row(name) : NULL;
}

static const struct entry_field *entry_field(const struct entry_query *query, const char *name) {
    for (size_t at = 0; at < query->count; at++)
        if (has_name(query->fields[at].names, name)) return &query->fields[at];
    return NULL;
}

/* The query that runs: an entry is written the moment it is found. */
static struct {
    const struct row *rows[MOST_COLUMNS];
    const struct entry_field *fields[MOST_COLUMNS];
    int count;
    bool units;
} columns;

static void put_entry(const struct entry *entry) {
    for (int at = 0; at < columns.count; at++) {
        char cell[1024];
        if (columns.rows[at]) {
            read_cell(columns.rows[at], entry->gpu, columns.units, cell, sizeof cell);
        } else {
            columns.fields[at]->write(entry, cell, sizeof cell - 8);
            const char *unit = columns.units && *cell != '[' ? columns.fields[at]->unit : "";
            if (*unit) snprintf(cell + strlen(cell), sizeof cell - strlen(cell), " %s", unit);
        }
        printf("%s%s%s", at ? ", " : "", cell, at == columns.count - 1 ? "\n" : "");
    }
}

static int query_entries(const struct entry_query *query, const char *text, const struct format *format) {
    char copy[8192], *names[MOST_COLUMNS];
    snprintf(copy, sizeof copy, "%s", text);
    columns.count = split_names(copy, names);
    columns.units = format->units;
    if (columns.count < 1) return refuse_field(text, query->help_option);
    for (int at = 0; at < columns.count; at++) {
        columns.rows[at] = gpu_property(query, names[at]);
        columns.fields[at] = columns.rows[at] ? NULL : entry_field(query, names[at]);
        if (!columns.rows[at] && !columns.fields[at]) return refuse_field(names[at], query->help_option);
    }
    for (int at = 0; format->heads && at < columns.count; at++)
        put_head_cell(at, names[at], columns.rows[at] ? csv_unit_of(columns.rows[at]->style) : columns.fields[at]->unit);
    if (format->heads) puts("");
    for (unsigned gpu = 0; gpu < chosen_count; gpu++) query->each(chosen[gpu], put_entry);
    return OK;
}

/* --help-query-X: every name in quotes, with what it means. */
static void explain_field(const char *names, const char *help) {
    char copy[160], *rest = copy;
    snprintf(copy, sizeof copy, "%s", names);
    for (const char *name = strsep(&rest, " "); name; name = rest ? strsep(&rest, " ") : NULL)
        printf("\"%s\"%s", name, rest ? " or " : "\n");
    printf("%s\n\n", help);
}

static void explain_rows(const char *prefix) {
    for (size_t at = 0; at < COUNT_OF(rows); at++)
        if (rows[at].query && rows[at].help && !strncmp(rows[at].query, prefix, strlen(prefix)))
            explain_field(rows[at].query, rows[at].help);
}

static int explain_gpu_query(void) {
    puts("Properties for --query-gpu, separated by commas, with --format=csv[,noheader][,nounits]:\n");
    explain_rows("");
    puts("Where a GPU does not give a value, [N/A] stands for it.");
    return OK;
}

static int explain_entry_query(const struct entry_query *query) {
    printf("Properties for %s, separated by commas, with --format=csv[,noheader][,nounits]:\n\n", query->option);
    for (size_t at = 0; at < COUNT_OF(gpu_properties); at++)
        explain_field(gpu_properties[at], find_row(gpu_properties[at])->help);
    for (size_t at = 0; at < query->count; at++) explain_field(query->fields[at].names, query->fields[at].help);
    if (!query->fields) explain_rows("remapped_rows.");
    return OK;
}
