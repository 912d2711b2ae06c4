/* What the daemon remembers for its clients: thread percentage and pinned memory per device, by default and per server. */
#pragma once

#include "wire.h"

enum { MOST_DEVICES = 64, DEVICE = 64 };

struct limits {
    double percentage;
    int count;
    char devices[MOST_DEVICES][DEVICE];
    uint64_t bytes[MOST_DEVICES]; /* 0 lifts the limit */
};

static struct limits defaults = {.percentage = 100.0};

/* A device is an index or a UUID of those that CUDA_VISIBLE_DEVICES leaves; spelled as index where the list tells it. */
static bool find_device(const char *given, char *found) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char *end;
    long index = strtol(given, &end, 10);
    bool is_index = *given && !*end && index >= 0;
    if (!visible || !*visible) {
        snprintf(found, DEVICE, "%.63s", given);
        return is_index || !strncmp(given, "GPU-", 4) || !strncmp(given, "MIG-", 4);
    }
    char list[PATHS], *rest = NULL;
    snprintf(list, sizeof list, "%s", visible);
    int at = 0;
    for (char *item = strtok_r(list, ",", &rest); item; item = strtok_r(NULL, ",", &rest), at++)
        if (is_index ? index == at : !strcmp(item, given)) {
            snprintf(found, DEVICE, "%d", at);
            return true;
        }
    return false;
}

/* "2G", "953M", "1024K", "0": MPS guide, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT. */
static bool parse_amount(const char *text, uint64_t *bytes) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    static const char units[] = "KMG";
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (end == text || *text == '-' || errno || (*end && (!unit || end[1]))) return false;
    *bytes = number << (unit ? 10 * (unit - units + 1) : 0);
    return true;
}

static void set_amount(struct limits *limits, const char *device, uint64_t bytes) {
    int at = 0;
    while (at < limits->count && strcmp(limits->devices[at], device)) at++;
    if (at == MOST_DEVICES) return;
    if (at == limits->count) snprintf(limits->devices[limits->count++], DEVICE, "%.63s", device);
    limits->bytes[at] = bytes;
}

static uint64_t amount_of(const struct limits *limits, const char *device) {
    for (int at = 0; at < limits->count; at++)
        if (!strcmp(limits->devices[at], device)) return limits->bytes[at];
    return 0;
}

static bool parse_percentage(const char *text, double *percentage) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= 0) || number > 100) return false;
    *percentage = number;
    return true;
}
