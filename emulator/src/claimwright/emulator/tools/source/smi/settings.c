/* What changes a GPU. */

typedef int (*set_call)(void *, unsigned);

static bool read_setting(const char *text, unsigned least, unsigned most, unsigned *out) {
    unsigned long number = text && is_number(text) && strlen(text) < 10 ? strtoul(text, NULL, 10) : ULONG_MAX;
    *out = (unsigned)number;
    return number >= least && number <= most;
}

static bool read_switch(const char *text, unsigned *out) {
    if (text && !strcasecmp(text, "ENABLED")) text = "1";
    if (text && !strcasecmp(text, "DISABLED")) text = "0";
    return read_setting(text, 0, 1, out);
}

static int refuse(const char *what, const char *value, const char *expected) {
    printf("%s: \"%s\" is not valid; expected %s.\n", what, value ? value : "", expected);
    return INVALID_ARGUMENT;
}

static int fail(const char *what, void *gpu, int result) {
    printf("Unable to set %s for GPU %s: %s\n", what, bus_id_of(gpu), error_text(result));
    if (result == NO_PERMISSION) puts("Run it as root, or as the user who owns the node.");
    if (result == NOT_SUPPORTED) puts("This GPU does not have that setting.");
    if (result == IN_USE) puts("Stop the processes that `nvidia-smi` lists, and try again.");
    puts("Terminating early due to previous errors.");
    return result;
}

/* Each GPU is told, and named as it is done; the first refusal ends it. */
static int set_each(const char *function, unsigned value, const char *what, const char *said) {
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = CALL(function, (void *, unsigned), chosen[at], value);
        if (result) return fail(what, chosen[at], result);
        printf("Set %s to %s for GPU %s.\n", what, said, bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

/* A switch that is on or off: what is so already is left alone, and told of. */
static int turn(const char *text, const char *what, const char *name) {
    char getter[64], setter[64];
    unsigned mode;
    if (!read_switch(text, &mode)) return refuse(what, text, "0/DISABLED or 1/ENABLED");
    snprintf(getter, sizeof getter, "nvmlDeviceGet%s", name);
    snprintf(setter, sizeof setter, "nvmlDeviceSet%s", name);
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned before = 0;
        int result = CALL(getter, (void *, unsigned *), chosen[at], &before);
        bool same = !result && before == mode;
        if (!same) result = CALL(setter, (void *, unsigned), chosen[at], mode);
        if (result) return fail(what, chosen[at], result);
        if (same)
            printf("%c%s is already %s for GPU %s.\n", toupper((unsigned char)*what), what + 1, word_for(ENABLED, mode),
                   bus_id_of(chosen[at]));
        else
            printf("%s %s for GPU %s.\n", word_for(ENABLED, mode), what, bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

static int set_persistence(const char *text) { return turn(text, "persistence mode", "PersistenceMode"); }

static int set_accounting(const char *text) { return turn(text, "accounting mode", "AccountingMode"); }

static int set_compute(const char *text) {
    static const char *const names[] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS"};
    unsigned mode = 4;
    for (unsigned at = 0; at < 4; at++)
        if (!strcasecmp(text, names[at])) mode = at;
    if (mode == 4 && !read_setting(text, 0, 3, &mode))
        return refuse("compute mode", text, "0/DEFAULT, 2/PROHIBITED or 3/EXCLUSIVE_PROCESS");
    return set_each("nvmlDeviceSetComputeMode", mode, "compute mode", names[mode]);
}

static bool read_watts(const char *text, unsigned *milliwatts) {
    char *end = NULL;
    double watts = text && isdigit((unsigned char)*text) ? strtod(text, &end) : -1;
    *milliwatts = (unsigned)(watts * 1000 + 0.5);
    return watts > 0 && watts <= 100000 && !*end;
}

static int check_power(void *gpu, unsigned milliwatts) {
    unsigned least = 0, most = 0;
    int result = CALL("nvmlDeviceGetPowerManagementLimitConstraints", (void *, unsigned *, unsigned *), gpu, &least, &most);
    if (result || (milliwatts >= least && milliwatts <= most)) return result;
    printf("Provided power limit %u.%02u W is not a valid power limit which should be between %u.%02u W and %u.%02u W for "
           "GPU %s\nInvalid Argument\nTerminating early due to previous errors.\n",
           milliwatts / 1000, milliwatts % 1000 / 10, least / 1000, least % 1000 / 10, most / 1000, most % 1000 / 10,
           bus_id_of(gpu));
    return INVALID_ARGUMENT;
}

static int set_power_of(void *gpu, unsigned milliwatts) {
    unsigned before = 0;
    int result = CALL("nvmlDeviceGetPowerManagementLimit", (void *, unsigned *), gpu, &before);
    if (result) return fail("power limit", gpu, result);
    if ((result = check_power(gpu, milliwatts))) return result;
    result = CALL("nvmlDeviceSetPowerManagementLimit", (void *, unsigned), gpu, milliwatts);
    if (result) return fail("power limit", gpu, result);
    printf("Power limit for GPU %s was set to %u.%02u W from %u.%02u W.\n", bus_id_of(gpu), milliwatts / 1000,
           milliwatts % 1000 / 10, before / 1000, before % 1000 / 10);
    return OK;
}

static int set_power(const char *text) {
    unsigned milliwatts;
    if (!read_watts(text, &milliwatts)) return refuse("power limit", text, "watts, such as 250 or 250.5");
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = set_power_of(chosen[at], milliwatts);
        if (result) return result;
    }
    puts("All done.");
    return OK;
}

static int set_slice(const char *text) {
    static const char *const names[] = {"DEFAULT", "SHORT", "MEDIUM", "LONG"};
    unsigned slice = 4;
    for (unsigned at = 0; at < 4; at++)
        if (!strcasecmp(text, names[at])) slice = at;
    if (slice == 4 && !read_setting(text, 0, 3, &slice))
        return refuse("compute-policy --set-timeslice", text, "0/DEFAULT, 1/SHORT, 2/MEDIUM or 3/LONG");
    return set_each("claimwrightDeviceSetTimeSlice", slice, "time slice", names[slice]);
}

static int list_policies(void) {
    for (unsigned at = 0; at < chosen_count; at++) {
        static const char *const names[] = {"Default", "Short", "Medium", "Long"};
        struct value slice = {0};
        int result = read_fact(chosen[at], "time_slice", 0, &slice);
        unsigned number = (unsigned)atoi(slice.text);
        printf("GPU %s\n    Time-slice: %s\n", bus_id_of(chosen[at]),
               result ? absence(result) : number < 4 ? names[number] : slice.text);
    }
    return OK;
}

/* "1000,1500" or "1000": two numbers. */
static bool read_range(const char *text, unsigned *first, unsigned *second) {
    char copy[32];
    if (!text || snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) return false;
    char *comma = strchr(copy, ',');
    if (comma) *comma = 0;
    return read_setting(copy, 0, 100000, first) && read_setting(comma ? comma + 1 : copy, 0, 100000, second);
}

static int set_clocks(const char *text, const char *function, const char *what, const char *form) {
    unsigned first, second;
    if (!read_range(text, &first, &second)) return refuse(what, text, form);
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = CALL(function, (void *, unsigned, unsigned), chosen[at], first, second);
        if (result) return fail(what, chosen[at], result);
        printf("%c%s set to \"(%u, %u)\" for GPU %s\n", toupper((unsigned char)*what), what + 1, first, second,
               bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

static int reset_each(const char *function, const char *what) {
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = CALL(function, (void *), chosen[at]);
        if (result) return fail(what, chosen[at], result);
        printf("%c%s reset to default for GPU %s\n", toupper((unsigned char)*what), what + 1, bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

static int set_ecc(const char *text) {
    unsigned mode;
    if (!read_switch(text, &mode)) return refuse("ECC mode", text, "0/DISABLED or 1/ENABLED");
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = CALL("nvmlDeviceSetEccMode", (void *, unsigned), chosen[at], mode);
        if (result) return fail("ECC support", chosen[at], result);
        printf("%s ECC support for GPU %s.\n", mode ? "Enabled" : "Disabled", bus_id_of(chosen[at]));
    }
    puts("All done.\nReboot or reset the GPU (-r) to make it current.");
    return OK;
}

static int clear_ecc(const char *text) {
    unsigned counter;
    if (text && !strcasecmp(text, "VOLATILE")) text = "0";
    if (text && !strcasecmp(text, "AGGREGATE")) text = "1";
    if (!read_setting(text, 0, 1, &counter)) return refuse("ECC counts", text, "0/VOLATILE or 1/AGGREGATE");
    for (unsigned at = 0; at < chosen_count; at++) {
        int result = CALL("nvmlDeviceClearEccErrorCounts", (void *, unsigned), chosen[at], counter);
        if (result) return fail("ECC counts", chosen[at], result);
        printf("Reset %s ECC errors to zero for GPU %s.\n", counter ? "aggregate" : "volatile", bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

/* The mode may be accepted and wait: for a reset, or for the GPU's clients to leave. */
static int set_mig_mode(const char *text) {
    unsigned mode;
    if (!read_switch(text, &mode)) return refuse("MIG mode", text, "0/DISABLED or 1/ENABLED");
    for (unsigned at = 0; at < chosen_count; at++) {
        int activation = OK;
        int result = CALL("nvmlDeviceSetMigMode", (void *, unsigned, int *), chosen[at], mode, &activation);
        if (result) {
            printf("Unable to %s MIG Mode for GPU %s: %s\nTerminating early due to previous errors.\n",
                   mode ? "enable" : "disable", bus_id_of(chosen[at]), error_text(result));
            return result;
        }
        if (activation)
            printf("Warning: MIG mode is in pending %s state for GPU %s:%s\n", mode ? "enable" : "disable",
                   bus_id_of(chosen[at]), error_text(activation));
        printf("%s MIG Mode for GPU %s\n", mode ? "Enabled" : "Disabled", bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}

static int reset_gpus(void) {
    for (unsigned at = 0; at < chosen_count; at++) {
        char bus[32];
        snprintf(bus, sizeof bus, "%s", bus_id_of(chosen[at]));
        int result = CALL("claimwrightDeviceReset", (void *), chosen[at]);
        if (result == IN_USE)
            printf("The following GPUs could not be reset:\n  GPU %s: In use by another client\n\n1 device is currently "
                   "being used by one or more other processes. `nvidia-smi` lists them: stop them and try again.\n", bus);
        else if (result)
            printf("The following GPUs could not be reset:\n  GPU %s: %s\n", bus, error_text(result));
        if (result) return result;
        printf("GPU %s was successfully reset.\n", bus);
    }
    puts("All done.");
    return OK;
}
