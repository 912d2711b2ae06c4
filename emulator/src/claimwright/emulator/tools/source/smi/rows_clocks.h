/* Rows: clocks. */
#define CLOCK_LEAF(tag, label, function, type, query, help, ...) \
    LEAF(2, tag, label, MEGAHERTZ, read_indexed, function, type, query, help, ##__VA_ARGS__)
GROUP(1, "clocks", "Clocks", .sections = CLOCK),
CLOCK_LEAF("graphics_clock", "Graphics", "nvmlDeviceGetClockInfo", 0, "clocks.current.graphics clocks.gr",
           "Graphics (shader) clock."),
CLOCK_LEAF("sm_clock", "SM", "nvmlDeviceGetClockInfo", 1, "clocks.current.sm clocks.sm", "Multiprocessor clock."),
CLOCK_LEAF("mem_clock", "Memory", "nvmlDeviceGetClockInfo", 2, "clocks.current.memory clocks.mem", "Memory clock."),
CLOCK_LEAF("video_clock", "Video", "nvmlDeviceGetClockInfo", 3, "clocks.current.video clocks.video",
           "Clock of encoders and decoders."),
#define APPLICATION(tag, label, function, type, query, help)                                                       \
    CLOCK_LEAF(tag, label, function, type, query, help, .until = 590000),                                         \
    LEAF(2, tag, label, DEPRECATED, NULL, "", 0, query, NULL, .since = 590000)
GROUP(1, "applications_clocks", "Applications Clocks", .sections = CLOCK),
APPLICATION("graphics_clock", "Graphics", "nvmlDeviceGetApplicationsClock", 0,
            "clocks.applications.graphics clocks.applications.gr", "Graphics clock asked for with -ac; deprecated, use -lgc."),
APPLICATION("mem_clock", "Memory", "nvmlDeviceGetApplicationsClock", 2,
            "clocks.applications.memory clocks.applications.mem", "Memory clock asked for with -ac; deprecated, use -lmc."),
GROUP(1, "default_applications_clocks", "Default Applications Clocks", .sections = CLOCK),
APPLICATION("graphics_clock", "Graphics", "nvmlDeviceGetDefaultApplicationsClock", 0,
            "clocks.default_applications.graphics clocks.default_applications.gr", "Graphics clock after a reset."),
APPLICATION("mem_clock", "Memory", "nvmlDeviceGetDefaultApplicationsClock", 2,
            "clocks.default_applications.memory clocks.default_applications.mem", "Memory clock after a reset."),
#undef APPLICATION
GROUP(1, "deferred_clocks", "Deferred Clocks", .sections = CLOCK),
ABSENT(2, "mem_clock", "Memory", NULL, NULL),
GROUP(1, "max_clocks", "Max Clocks", .sections = CLOCK),
CLOCK_LEAF("graphics_clock", "Graphics", "nvmlDeviceGetMaxClockInfo", 0, "clocks.max.graphics clocks.max.gr",
           "The highest graphics clock."),
CLOCK_LEAF("sm_clock", "SM", "nvmlDeviceGetMaxClockInfo", 1, "clocks.max.sm", "The highest multiprocessor clock."),
CLOCK_LEAF("mem_clock", "Memory", "nvmlDeviceGetMaxClockInfo", 2, "clocks.max.memory clocks.max.mem",
           "The highest memory clock."),
CLOCK_LEAF("video_clock", "Video", "nvmlDeviceGetMaxClockInfo", 3, NULL, NULL),
GROUP(1, "max_customer_boost_clocks", "Max Customer Boost Clocks", .sections = CLOCK),
CLOCK_LEAF("graphics_clock", "Graphics", "nvmlDeviceGetMaxCustomerBoostClock", 0, NULL, NULL),
GROUP(1, "clock_policy", "Clock Policy", .sections = CLOCK),
LEAF(2, "auto_boost", "Auto Boost", ENABLED, read_pair, "nvmlDeviceGetAutoBoostedClocksEnabled", 0, NULL, NULL),
LEAF(2, "auto_boost_default", "Auto Boost Default", ENABLED, read_pair, "nvmlDeviceGetAutoBoostedClocksEnabled", 1, NULL,
     NULL),
GROUP(1, "voltage", "Voltage", .until = 580000, .sections = VOLTAGE),
ABSENT(2, "graphics_volt", "Graphics", NULL, NULL),
#undef CLOCK_LEAF
