/* The command line: options of every verb in one table. getopt knows neither long names behind one dash (-pm) nor values
 * after a blank or a `=` at will. */

enum value_kind { FLAG, VALUE, MAYBE };

enum option_id {
    OPT_ID, OPT_FILE, OPT_LOOP, OPT_LOOP_MS, OPT_LIST, OPT_QUERY, OPT_XML, OPT_DISPLAY, OPT_FORMAT, OPT_QUERY_GPU,
    OPT_HELP_QUERY_GPU, OPT_ENTRIES, /* one for each of entry_queries */
    OPT_HELP_ENTRIES = OPT_ENTRIES + COUNT_OF(entry_queries),
    OPT_HELP = OPT_HELP_ENTRIES + COUNT_OF(entry_queries),
    OPT_VERSION, OPT_PERSISTENCE, OPT_ACCOUNTING, OPT_COMPUTE, OPT_POWER, OPT_ECC, OPT_CLEAR_ECC, OPT_LOCK, OPT_UNLOCK,
    OPT_LOCK_MEMORY, OPT_UNLOCK_MEMORY, OPT_APPLICATION, OPT_RESET_APPLICATION, OPT_MIG, OPT_RESET,
    OPT_MATRIX, OPT_PAIRS, OPT_CPU, OPT_NEAREST, OPT_PEERS,
    OPT_LINK, OPT_STATUS, OPT_CAPABILITIES, OPT_ERRORS, OPT_RESET_ERRORS, OPT_REMOTE,
    OPT_LGIP, OPT_LGIPP, OPT_LGI, OPT_CGI, OPT_WITH_COMPUTE, OPT_DGI, OPT_LCIP, OPT_LCIPP, OPT_LCI, OPT_CCI, OPT_DCI,
    OPT_GI, OPT_CI,
    OPT_SLICE, OPT_LIST_POLICY,
    OPT_ADDRESS, OPT_MODE, OPT_QUERY_DRAIN, OPT_REMOVE,
    OPT_SUPPORTED, OPT_CREATABLE, OPT_VERBOSE, OPT_QUERY_VGPU,
    OPTIONS
};

#define ENTRY(number, name) \
    {"", NULL, "--query-" name, OPT_ENTRIES + (number), VALUE}, {"", NULL, "--help-query-" name, OPT_HELP_ENTRIES + (number), FLAG}

static const struct option_form {
    const char *verb, *brief, *full;
    int id;
    enum value_kind kind;
} option_forms[] = {
    {"*", "-i", "--id", OPT_ID, VALUE}, {"*", "-h", "--help", OPT_HELP, FLAG},
    {"", "-f", "--filename", OPT_FILE, VALUE}, {"", "-l", "--loop", OPT_LOOP, MAYBE},
    {"", "-lms", "--loop-ms", OPT_LOOP_MS, VALUE}, {"", "-L", "--list-gpus", OPT_LIST, FLAG},
    {"", "-q", "--query", OPT_QUERY, FLAG}, {"", "-x", "--xml-format", OPT_XML, FLAG},
    {"", "-d", "--display", OPT_DISPLAY, VALUE}, {"", NULL, "--format", OPT_FORMAT, VALUE},
    {"", NULL, "--query-gpu", OPT_QUERY_GPU, VALUE}, {"", NULL, "--help-query-gpu", OPT_HELP_QUERY_GPU, FLAG},
    ENTRY(0, "compute-apps"), ENTRY(1, "accounted-apps"), ENTRY(2, "retired-pages"), ENTRY(3, "supported-clocks"),
    ENTRY(4, "remapped-rows"), {"", NULL, "--version", OPT_VERSION, FLAG},
    {"", "-pm", "--persistence-mode", OPT_PERSISTENCE, VALUE}, {"", "-am", "--accounting-mode", OPT_ACCOUNTING, VALUE},
    {"", "-c", "--compute-mode", OPT_COMPUTE, VALUE}, {"", "-pl", "--power-limit", OPT_POWER, VALUE},
    {"", "-e", "--ecc-config", OPT_ECC, VALUE}, {"", "-p", "--reset-ecc-errors", OPT_CLEAR_ECC, VALUE},
    {"", "-lgc", "--lock-gpu-clocks", OPT_LOCK, VALUE}, {"", "-rgc", "--reset-gpu-clocks", OPT_UNLOCK, FLAG},
    {"", "-lmc", "--lock-memory-clocks", OPT_LOCK_MEMORY, VALUE}, {"", "-rmc", "--reset-memory-clocks", OPT_UNLOCK_MEMORY, FLAG},
    {"", "-ac", "--applications-clocks", OPT_APPLICATION, VALUE},
    {"", "-rac", "--reset-applications-clocks", OPT_RESET_APPLICATION, FLAG},
    {"", "-mig", "--multi-instance-gpu", OPT_MIG, VALUE}, {"", "-r", "--gpu-reset", OPT_RESET, FLAG},
    {"topo", "-m", "--matrix", OPT_MATRIX, FLAG}, {"topo", "-p", "--path", OPT_PAIRS, FLAG},
    {"topo", "-c", "--cpu", OPT_CPU, VALUE}, {"topo", "-n", "--nearest", OPT_NEAREST, VALUE},
    {"topo", "-p2p", "--p2pstatus", OPT_PEERS, VALUE},
    {"nvlink", "-l", "--link", OPT_LINK, VALUE}, {"nvlink", "-s", "--status", OPT_STATUS, FLAG},
    {"nvlink", "-c", "--capabilities", OPT_CAPABILITIES, FLAG}, {"nvlink", "-e", "--errorcounters", OPT_ERRORS, FLAG},
    {"nvlink", "-re", "--reseterrorcounters", OPT_RESET_ERRORS, FLAG},
    {"nvlink", "-R", "--remotelinkinfo", OPT_REMOTE, FLAG}, {"nvlink", "-p", "--pcibusid", OPT_REMOTE, FLAG},
    {"mig", "-lgip", "--list-gpu-instance-profiles", OPT_LGIP, FLAG},
    {"mig", "-lgipp", "--list-gpu-instance-possible-placements", OPT_LGIPP, FLAG},
    {"mig", "-lgi", "--list-gpu-instances", OPT_LGI, FLAG}, {"mig", "-cgi", "--create-gpu-instance", OPT_CGI, VALUE},
    {"mig", "-C", "--default-compute-instance", OPT_WITH_COMPUTE, FLAG},
    {"mig", "-dgi", "--destroy-gpu-instance", OPT_DGI, FLAG},
    {"mig", "-lcip", "--list-compute-instance-profiles", OPT_LCIP, FLAG},
    {"mig", "-lcipp", "--list-compute-instance-possible-placements", OPT_LCIPP, FLAG},
    {"mig", "-lci", "--list-compute-instances", OPT_LCI, FLAG}, {"mig", "-cci", "--create-compute-instance", OPT_CCI, MAYBE},
    {"mig", "-dci", "--destroy-compute-instance", OPT_DCI, FLAG}, {"mig", "-gi", "--gpu-instance-id", OPT_GI, VALUE},
    {"mig", "-ci", "--compute-instance-id", OPT_CI, VALUE},
    {"compute-policy", NULL, "--set-timeslice", OPT_SLICE, VALUE}, {"compute-policy", "-l", "--list", OPT_LIST_POLICY, FLAG},
    {"drain", "-p", "--pciid", OPT_ADDRESS, VALUE}, {"drain", "-m", "--modify", OPT_MODE, VALUE},
    {"drain", "-q", "--query", OPT_QUERY_DRAIN, FLAG}, {"drain", "-r", "--remove", OPT_REMOVE, FLAG},
    {"vgpu", "-s", "--supported", OPT_SUPPORTED, FLAG}, {"vgpu", "-c", "--creatable", OPT_CREATABLE, FLAG},
    {"vgpu", "-v", "--verbose", OPT_VERBOSE, FLAG}, {"vgpu", "-q", "--query", OPT_QUERY_VGPU, FLAG},
};

struct request {
    const char *verb;           /* "" without one */
    const char *given[OPTIONS]; /* NULL where not given, "" for a flag */
};

static bool is_spelled(const char *argument, const char *name, const char **value) {
    size_t length = name ? strlen(name) : 0;
    if (!length || strncmp(argument, name, length) || (argument[length] && argument[length] != '=')) return false;
    *value = argument[length] ? argument + length + 1 : NULL;
    return true;
}

static const struct option_form *find_option(const char *verb, const char *argument, const char **value) {
    for (size_t at = 0; at < COUNT_OF(option_forms); at++) {
        const struct option_form *form = &option_forms[at];
        if (strcmp(form->verb, verb) && *form->verb != '*') continue;
        if (is_spelled(argument, form->brief, value) || is_spelled(argument, form->full, value)) return form;
    }
    return NULL;
}

static int refuse_argument(const char *verb, const char *argument, const char *why) {
    printf("Invalid combination of input arguments. Please run 'nvidia-smi %s%s-h' for help.\n(\"%s\": %s)\n", verb,
           *verb ? " " : "", argument, why);
    return INVALID_ARGUMENT;
}

static int read_arguments(struct request *out, int count, char **arguments) {
    static const char *const verbs[] = {"topo", "nvlink", "mig", "compute-policy", "drain", "vgpu"};
    int at = 1;
    *out = (struct request){.verb = ""};
    for (size_t one = 0; count > 1 && one < COUNT_OF(verbs); one++)
        if (!strcmp(arguments[1], verbs[one])) out->verb = arguments[at++];
    for (; at < count; at++) {
        const char *value = NULL, *argument = arguments[at];
        const struct option_form *form = find_option(out->verb, argument, &value);
        if (!form) return refuse_argument(out->verb, argument, "not understood");
        if (out->given[form->id]) return refuse_argument(out->verb, argument, "given twice");
        if (form->kind == FLAG && value) return refuse_argument(out->verb, argument, "takes no value");
        if (form->kind == VALUE && !value && at + 1 < count) value = arguments[++at];
        if (form->kind == MAYBE && !value && at + 1 < count && arguments[at + 1][0] != '-') value = arguments[++at];
        if (form->kind == VALUE && !value) return refuse_argument(out->verb, argument, "needs a value");
        out->given[form->id] = value ? value : "";
    }
    return OK;
}
