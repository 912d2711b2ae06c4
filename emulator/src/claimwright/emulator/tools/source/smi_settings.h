/* What changes a GPU. */
#pragma once

typedef int (*set_call)(void *, unsigned);

static bool read_setting(const char *text, unsigned most, unsigned *out) {
    char *end;
    unsigned long number = text ? strtoul(text, &end, 10) : 0;
    if (!text || !*text || *end || number > most) return false;
    *out = (unsigned)number;
    return true;
}

static int refuse(const char *what, const char *value, const char *expected) {
    printf("%s: \"%s\" is not valid; expected %s.\n", what, value ? value : "", expected);
    return 2;
}

/* Each GPU is told, and named as it is done; the first refusal ends it. */
static int set_each(const char *function, unsigned value, const char *what, const char *said) {
    set_call set = (set_call)call(function);
    for (unsigned at = 0; at < chosen_count; at++) {
        char bus[160];
        read_cell(find_field("pci.bus_id"), chosen[at], false, bus, sizeof bus);
        int result = set(chosen[at], value);
        if (result) {
            printf("Unable to set %s for GPU %s: %s\nTerminating early due to previous errors.\n", what, bus,
                   nvml.error(result));
            return result;
        }
        printf("Set %s to %s for GPU %s.\n", what, said, bus);
    }
    puts("All done.");
    return 0;
}

static int set_persistence(const char *text) {
    unsigned mode;
    if (!strcasecmp(text, "ENABLED") || !strcasecmp(text, "DISABLED")) text = tolower(*text) == 'e' ? "1" : "0";
    if (!read_setting(text, 1, &mode)) return refuse("persistence mode", text, "0/DISABLED or 1/ENABLED");
    return set_each("nvmlDeviceSetPersistenceMode", mode, "persistence mode", mode ? "Enabled" : "Disabled");
}

static int set_compute(const char *text) {
    static const char *const names[] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS"};
    unsigned mode = 4;
    for (unsigned at = 0; at < 4; at++)
        if (!strcasecmp(text, names[at])) mode = at;
    if (mode == 4 && !read_setting(text, 3, &mode))
        return refuse("compute mode", text, "0/DEFAULT, 2/PROHIBITED or 3/EXCLUSIVE_PROCESS");
    return set_each("nvmlDeviceSetComputeMode", mode, "compute mode", names[mode]);
}

static int set_power(const char *text) {
    unsigned watts;
    if (!read_setting(text, 100000, &watts)) return refuse("power limit", text, "whole watts");
    return set_each("nvmlDeviceSetPowerManagementLimit", watts * 1000, "power limit", text);
}

static int set_slice(const char *text) {
    static const char *const names[] = {"DEFAULT", "SHORT", "MEDIUM", "LONG"};
    unsigned slice;
    if (!read_setting(text, 3, &slice)) return refuse("compute-policy --set-timeslice", text, "0, 1, 2 or 3");
    return set_each("claimwrightDeviceSetTimeSlice", slice, "time slice", names[slice]);
}
