/* One description of everything that can be asked of a GPU: each row is a leaf or a group of the `-q` log, an element of
 * its XML, a property of --query-gpu, or all three. Order is the order of the log. Leaves and names as in captured
 * `nvidia-smi -q -x` of drivers 570 to 595; `since` and `until` (exclusive) are driver branches. */
#pragma once

typedef bool (*condition)(void *gpu);

enum section {
    MEMORY = 1 << 0,
    UTILIZATION = 1 << 1,
    ECC = 1 << 2,
    TEMPERATURE = 1 << 3,
    POWER = 1 << 4,
    CLOCK = 1 << 5,
    COMPUTE = 1 << 6,
    PIDS = 1 << 7,
    PERFORMANCE = 1 << 8,
    SUPPORTED_CLOCKS = 1 << 9,
    PAGE_RETIREMENT = 1 << 10,
    ACCOUNTING = 1 << 11,
    ENCODER_STATS = 1 << 12,
    SUPPORTED_GPU_TARGET_TEMP = 1 << 13,
    VOLTAGE = 1 << 14,
    FBC_STATS = 1 << 15,
    ROW_REMAPPER = 1 << 16,
    RESET_STATUS = 1 << 17,
    GSP_FIRMWARE_VERSION = 1 << 18,
    POWER_SMOOTHING = 1 << 19,
    POWER_PROFILES = 1 << 20,
    ONLY_WHEN_ASKED = 1 << 30, /* not in a log of everything */
};

struct writer;
typedef void (*render)(struct writer *out, void *gpu);

struct row {
    int depth;          /* 1 is right below the GPU; 0 is no part of the log */
    const char *tag;    /* of the XML; NULL leaves it out there */
    const char *label;  /* of the log; NULL leaves it out there */
    enum style style;
    reader read;        /* of a group: whether there is anything in it */
    const char *function;
    int selector;
    const char *query;  /* names for --query-gpu, separated by blanks */
    const char *help;
    bool group;
    render list;        /* writes what follows the heading itself */
    condition when;
    unsigned since, until, sections;
};

static bool is_turing(void *gpu) { return architecture_of(gpu) <= TURING; }
static bool is_ampere_or_later(void *gpu) { return architecture_of(gpu) >= AMPERE; }
static bool has_thresholds(void *gpu) { return architecture_of(gpu) < ADA; }
static bool has_limits(void *gpu) { return architecture_of(gpu) >= ADA; }

#define LEAF(depth, tag, label, style, read, function, selector, query, help, ...) \
    {depth, tag, label, style, read, function, selector, query, help, .group = false, ##__VA_ARGS__}
#define GROUP(depth, tag, label, ...) {depth, tag, label, PLAIN_TEXT, .group = true, ##__VA_ARGS__}
#define ASKED(style, read, function, selector, query, help) LEAF(0, NULL, NULL, style, read, function, selector, query, help)
#define ABSENT(depth, tag, label, query, help) LEAF(depth, tag, label, PLAIN_TEXT, read_nothing, "", 0, query, help)
