/* From what was asked to what answers it. */

/* Exactly one of a verb's actions, with what else it takes; the others are not given. */
static bool only_of(const struct request *asked, const int *actions, size_t count, int *out) {
    int found = 0;
    for (size_t at = 0; at < count; at++)
        if (asked->given[actions[at]]) found++, *out = actions[at];
    return found == 1;
}

static int explain_choice(const struct request *asked) {
    return refuse_argument(asked->verb, *asked->verb ? asked->verb : "nvidia-smi", "ask for one thing at a time");
}

static int serve_topology(const struct request *asked) {
    static const int actions[] = {OPT_MATRIX, OPT_PAIRS, OPT_CPU, OPT_NEAREST, OPT_PEERS};
    int action;
    if (!only_of(asked, actions, COUNT_OF(actions), &action)) return explain_choice(asked);
    switch (action) {
        case OPT_PAIRS: return show_pairs();
        case OPT_CPU: return show_near_cpu(asked->given[OPT_CPU]);
        case OPT_NEAREST: return show_nearest(asked->given[OPT_NEAREST]);
        case OPT_PEERS: return show_peers(asked->given[OPT_PEERS]);
        default: return show_matrix();
    }
}

static int serve_links(const struct request *asked) {
    static const int actions[] = {OPT_STATUS, OPT_CAPABILITIES, OPT_ERRORS, OPT_RESET_ERRORS, OPT_REMOTE};
    const char *only = asked->given[OPT_LINK];
    int action;
    if (!only_of(asked, actions, COUNT_OF(actions), &action)) return explain_choice(asked);
    switch (action) {
        case OPT_CAPABILITIES: return show_links(put_capabilities, only);
        case OPT_ERRORS: return show_links(put_errors, only);
        case OPT_RESET_ERRORS: return reset_link_counters();
        case OPT_REMOTE: return show_links(put_far_end, only);
        default: return show_links(put_speed, only);
    }
}

/* Numbers with commas between them; all are meant where the option is not given. */
static bool is_id_list(const char *text) {
    if (!text) return true;
    for (size_t length; (length = strspn(text, "0123456789")); text++)
        if (!*(text += length)) return true;
        else if (*text != ',') return false;
    return false;
}

static int serve_mig(const struct request *asked) {
    static const int actions[] = {OPT_LGIP, OPT_LGIPP, OPT_LGI, OPT_CGI, OPT_DGI, OPT_LCIP, OPT_LCIPP, OPT_LCI, OPT_CCI,
                                  OPT_DCI};
    const char *instances = asked->given[OPT_GI];
    int action;
    if (!only_of(asked, actions, COUNT_OF(actions), &action)) return explain_choice(asked);
    if (!is_id_list(instances)) return refuse("mig -gi", instances, "ids of GPU instances, such as 1,2");
    if (!is_id_list(asked->given[OPT_CI])) return refuse("mig -ci", asked->given[OPT_CI], "ids of compute instances, such as 0,1");
    switch (action) {
        case OPT_LGIP: return list_profiles();
        case OPT_LGIPP: return list_placements();
        case OPT_LGI: return list_gpu_instances();
        case OPT_CGI: return create_gpu_instances(asked->given[OPT_CGI], asked->given[OPT_WITH_COMPUTE]);
        case OPT_DGI: return each_instance(instances, destroy_gpu_instance, NULL);
        case OPT_LCIP: return list_compute_profiles(instances);
        case OPT_LCIPP: return each_instance(instances, show_compute_placements, NULL);
        case OPT_LCI: return list_compute_instances(instances);
        case OPT_CCI: return create_compute_instances(asked->given[OPT_CCI], instances);
        default: return destroy_compute_instances(instances, asked->given[OPT_CI]);
    }
}

static int serve_vgpu(const struct request *asked) {
    static const int actions[] = {OPT_SUPPORTED, OPT_CREATABLE, OPT_QUERY_VGPU};
    bool all = asked->given[OPT_VERBOSE] != NULL;
    int action = 0, asked_for = 0;
    for (size_t at = 0; at < COUNT_OF(actions); at++)
        if (asked->given[actions[at]]) asked_for++, action = actions[at];
    if (asked_for > 1) return explain_choice(asked);
    if (all && action != OPT_SUPPORTED && action != OPT_CREATABLE)
        return refuse_argument("vgpu", "-v", "goes with -s or -c");
    int result = choose_vgpu_hosts();
    if (result) return result;
    switch (action) {
        case OPT_SUPPORTED: return list_types("nvmlDeviceGetSupportedVgpus", all);
        case OPT_CREATABLE: return list_types("nvmlDeviceGetCreatableVgpus", all);
        case OPT_QUERY_VGPU: return query_vgpus();
        default: return show_vgpus();
    }
}

static int serve_drain(const struct request *asked) {
    return drain(asked->given[OPT_ADDRESS], asked->given[OPT_MODE], asked->given[OPT_QUERY_DRAIN] != NULL,
                 asked->given[OPT_REMOVE] != NULL);
}

static int serve_policy(const struct request *asked) {
    if (asked->given[OPT_SLICE]) return set_slice(asked->given[OPT_SLICE]);
    return asked->given[OPT_LIST_POLICY] ? list_policies() : explain_choice(asked);
}

static const struct setting {
    int option;
    int (*set)(const char *text);
} settings[] = {
    {OPT_PERSISTENCE, set_persistence}, {OPT_ACCOUNTING, set_accounting}, {OPT_COMPUTE, set_compute},
    {OPT_POWER, set_power}, {OPT_ECC, set_ecc}, {OPT_CLEAR_ECC, clear_ecc}, {OPT_MIG, set_mig_mode},
};

static int change(int action, const char *text) {
    for (size_t at = 0; at < COUNT_OF(settings); at++)
        if (settings[at].option == action) return settings[at].set(text);
    switch (action) {
        case OPT_LOCK: return set_clocks(text, "nvmlDeviceSetGpuLockedClocks", "GPU clocks", "MHz, or the lowest and highest: 1000,1500");
        case OPT_UNLOCK: return reset_each("nvmlDeviceResetGpuLockedClocks", "GPU clocks");
        case OPT_LOCK_MEMORY:
            return set_clocks(text, "nvmlDeviceSetMemoryLockedClocks", "memory clocks", "MHz, or the lowest and highest");
        case OPT_UNLOCK_MEMORY: return reset_each("nvmlDeviceResetMemoryLockedClocks", "memory clocks");
        case OPT_APPLICATION:
            return set_clocks(text, "nvmlDeviceSetApplicationsClocks", "applications clocks", "memory and graphics clock: 2619,1980");
        case OPT_RESET_APPLICATION: return reset_each("nvmlDeviceResetApplicationsClocks", "applications clocks");
        default: return reset_gpus();
    }
}

static const int changes[] = {OPT_PERSISTENCE, OPT_ACCOUNTING, OPT_COMPUTE, OPT_POWER, OPT_ECC, OPT_CLEAR_ECC, OPT_LOCK,
                              OPT_UNLOCK, OPT_LOCK_MEMORY, OPT_UNLOCK_MEMORY, OPT_APPLICATION, OPT_RESET_APPLICATION, OPT_MIG,
                              OPT_RESET};

/* What shows something; it may be asked for again and again. */
static int show(const struct request *asked) {
    struct format format;
    unsigned wanted = 0;
    for (size_t at = 0; at < COUNT_OF(entry_queries); at++) {
        const char *names = asked->given[OPT_ENTRIES + at];
        if (!names) continue;
        if (!read_format(entry_queries[at].option, asked->given[OPT_FORMAT], &format)) return INVALID_ARGUMENT;
        return query_entries(&entry_queries[at], names, &format);
    }
    if (asked->given[OPT_QUERY_GPU]) {
        if (!read_format("--query-gpu", asked->given[OPT_FORMAT], &format)) return INVALID_ARGUMENT;
        return query_gpus(asked->given[OPT_QUERY_GPU], &format);
    }
    if (asked->given[OPT_LIST]) return list_gpus();
    if (!asked->given[OPT_QUERY]) return show_table();
    if (asked->given[OPT_DISPLAY] && !(wanted = read_sections(asked->given[OPT_DISPLAY]))) return INVALID_ARGUMENT;
    return show_log(asked->given[OPT_XML] != NULL, wanted);
}

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

/* Until a signal ends it; a node that dies meanwhile ends it too, with what went wrong. */
static int show_repeatedly(const struct request *asked, unsigned milliseconds) {
    const struct sigaction action = {.sa_handler = stop};
    const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    for (int result = OK; !stopped;) {
        if ((result = show(asked)) || fflush(stdout)) return result ? result : 1;
        nanosleep(&pause, NULL);
        if (!stopped && (result = choose(asked->given[OPT_ID]))) return result;
    }
    return OK;
}

static int check_together(const struct request *asked) {
    static const int shows[] = {OPT_QUERY, OPT_LIST, OPT_QUERY_GPU, OPT_ENTRIES, OPT_ENTRIES + 1, OPT_ENTRIES + 2,
                                OPT_ENTRIES + 3, OPT_ENTRIES + 4};
    int shown = 0, changed = 0;
    for (size_t at = 0; at < COUNT_OF(shows); at++) shown += asked->given[shows[at]] != NULL;
    for (size_t at = 0; at < COUNT_OF(changes); at++) changed += asked->given[changes[at]] != NULL;
    bool query = asked->given[OPT_QUERY] != NULL;
    if (shown + changed > 1) return explain_choice(asked);
    if (asked->given[OPT_XML] && !query) return refuse_argument("", "-x", "goes with -q");
    if (asked->given[OPT_DISPLAY] && !query) return refuse_argument("", "-d", "goes with -q");
    if (asked->given[OPT_DISPLAY] && asked->given[OPT_XML]) return refuse_argument("", "-d", "not together with -x");
    if (asked->given[OPT_FORMAT] && shown - query - (asked->given[OPT_LIST] != NULL) != 1)
        return refuse_argument("", "--format", "goes with a --query-... option");
    if (changed && (asked->given[OPT_LOOP] || asked->given[OPT_LOOP_MS]))
        return refuse_argument("", "-l", "repeats what is shown, not what changes");
    return OK;
}

/* 0 without a loop, UINT_MAX where the number is none. */
static unsigned loop_of(const struct request *asked) {
    const char *seconds = asked->given[OPT_LOOP], *milliseconds = asked->given[OPT_LOOP_MS];
    unsigned every = 0;
    if (seconds && milliseconds) return UINT_MAX;
    if (milliseconds && !read_setting(milliseconds, 1, 86400000, &every)) return UINT_MAX;
    if (seconds && *seconds && !read_setting(seconds, 1, 86400, &every)) return UINT_MAX;
    return milliseconds ? every : seconds ? (*seconds ? every : 5) * 1000 : 0;
}

static int serve_plain(const struct request *asked) {
    int action = 0;
    unsigned every = loop_of(asked);
    if (asked->given[OPT_VERSION]) return show_version();
    if (only_of(asked, changes, COUNT_OF(changes), &action)) return change(action, asked->given[action]);
    return every ? show_repeatedly(asked, every) : show(asked);
}

static int serve_explanation(const struct request *asked) {
    if (asked->given[OPT_HELP_QUERY_GPU]) return explain_gpu_query();
    for (size_t at = 0; at < COUNT_OF(entry_queries); at++)
        if (asked->given[OPT_HELP_ENTRIES + at]) return explain_entry_query(&entry_queries[at]);
    return -1;
}

static int serve_started(const struct request *asked) {
    static const struct { const char *verb; int (*serve)(const struct request *); } verbs[] = {
        {"topo", serve_topology}, {"nvlink", serve_links}, {"mig", serve_mig}, {"compute-policy", serve_policy},
        {"vgpu", serve_vgpu}, {"", serve_plain}};
    if (!strcmp(asked->verb, "drain")) return serve_drain(asked); /* its GPU may be gone */
    int result = choose(asked->given[OPT_ID]);
    for (size_t at = 0; !result && at < COUNT_OF(verbs); at++)
        if (!strcmp(verbs[at].verb, asked->verb)) return verbs[at].serve(asked);
    return result;
}

/* Everything about the command line is refused before the node is asked. */
static int serve(const struct request *asked) {
    if (asked->given[OPT_HELP]) return *asked->verb ? show_verb_help(asked->verb) : show_help();
    int result = serve_explanation(asked);
    if (result >= 0) return result;
    if ((result = check_together(asked))) return result;
    if (loop_of(asked) == UINT_MAX) return refuse_argument("", "-l", "expected seconds from 1 on, or -lms with milliseconds");
    const char *path = asked->given[OPT_FILE];
    if (path && !freopen(path, "we", stdout)) {
        fprintf(stderr, "Unable to write to file \"%s\": %s\n", path, strerror(errno));
        return INVALID_ARGUMENT;
    }
    if ((result = start_library())) return result;
    result = serve_started(asked);
    stop_library();
    return result;
}
