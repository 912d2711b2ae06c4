/* How a value is written: the same leaf differs a little between the log, its XML and CSV. */

enum form { AS_TEXT, AS_XML, AS_CSV };

enum style {
    PLAIN_TEXT,
    NUMBER,
    SIGNED,
    MEBIBYTES,   /* of bytes */
    MILLIWATTS,
    PERCENTAGE,
    MEGAHERTZ,
    CELSIUS,
    KILOBYTES_PER_SECOND,
    MICROSECONDS, /* of nanoseconds */
    BANKS,
    LINK_WIDTH,
    HEX_DIGIT,
    HEX_2,
    HEX_4,
    HEX_8,
    HEX_SMALL,   /* as many digits as needed */
    HEX_16,
    ENABLED,
    ACTIVE,
    YES_NO,
    STATE,       /* P0 */
    COMPUTE_MODE,
    BRAND,
    ARCHITECTURE,
    ADDRESSING,
    VIRTUALIZATION,
    RECOVERY,
    EGM,
    DEPRECATED, /* nothing is read */
};

struct value {
    char text[256];
    uint64_t number;
};

static const char *unit_of(enum style style) {
    switch (style) {
        case MEBIBYTES: return "MiB";
        case MILLIWATTS: return "W";
        case PERCENTAGE: return "%";
        case MEGAHERTZ: return "MHz";
        case CELSIUS: return "C";
        case KILOBYTES_PER_SECOND: return "KB/s";
        case MICROSECONDS: return "us";
        case BANKS: return "bank(s)";
        default: return "";
    }
}

/* CSV has no unit for temperatures and banks; the others stand in the head and in each cell. */
static const char *csv_unit_of(enum style style) {
    return style == CELSIUS || style == BANKS || style == KILOBYTES_PER_SECOND ? "" : unit_of(style);
}

static const char *name_from(const char *const *names, size_t count, uint64_t number) {
    return number < count && names[number] ? names[number] : "Unknown";
}

static const char *word_for(enum style style, uint64_t number) {
    static const char *const compute[] = {"Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"};
    static const char *const brands[] = {"Unknown", "Quadro", "Tesla", "NVS", "GRID", "GeForce", "Titan",
                                         "NVIDIA Virtual Applications", "NVIDIA Virtual PC", "NVIDIA Virtual Compute Server",
                                         "NVIDIA RTX Virtual Workstation", "NVIDIA Cloud Gaming", "Quadro RTX", "NVIDIA RTX",
                                         "NVIDIA", "GeForce RTX", "Titan RTX"};
    static const char *const architectures[] = {NULL, NULL, "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere",
                                                "Ada Lovelace", "Hopper", "Blackwell"};
    static const char *const addressing[] = {"None", "HMM", "ATS"};
    static const char *const virtualization[] = {"None", "Pass-Through", "VGPU", "Host VGPU", "Host VSGA"};
    static const char *const recovery[] = {"None", "Reset", "Reboot", "Drain P2P", "Drain and Reset", "Recover IMEX Domain",
                                           "Bus Reset", "System Reboot"};
    switch (style) {
        case ENABLED: return number ? "Enabled" : "Disabled";
        case ACTIVE: return number ? "Active" : "Not Active";
        case YES_NO: return number ? "Yes" : "No";
        case EGM: return number & 1 ? "enabled" : "disabled";
        case COMPUTE_MODE: return name_from(compute, COUNT_OF(compute), number);
        case BRAND: return name_from(brands, COUNT_OF(brands), number);
        case ARCHITECTURE: return name_from(architectures, COUNT_OF(architectures), number);
        case ADDRESSING: return name_from(addressing, COUNT_OF(addressing), number);
        case VIRTUALIZATION: return name_from(virtualization, COUNT_OF(virtualization), number);
        case RECOVERY: return name_from(recovery, COUNT_OF(recovery), number);
        default: return NULL;
    }
}

/* Half a MiB counts as a whole one: reserved and free memory of the captured boards both round up. */
static uint64_t mebibytes(uint64_t bytes) { return (bytes + (1u << 19)) >> 20; }

static void write_number(enum style style, enum form form, uint64_t number, char *out, size_t size) {
    const char *hex = form == AS_XML ? "" : "0x";
    unsigned small = (unsigned)number;
    switch (style) {
        case SIGNED:
        case CELSIUS: snprintf(out, size, "%d", (int)number); break;
        case MEBIBYTES: snprintf(out, size, "%" PRIu64, mebibytes(number)); break;
        case MILLIWATTS: snprintf(out, size, "%u.%02u", small / 1000, small % 1000 / 10); break;
        case MICROSECONDS: snprintf(out, size, "%" PRIu64, number / 1000); break;
        case LINK_WIDTH: snprintf(out, size, form == AS_CSV ? "%u" : "%ux", small); break;
        case HEX_DIGIT: snprintf(out, size, "%s%X", hex, small); break;
        case HEX_2: snprintf(out, size, "%s%02X", hex, small); break;
        case HEX_4: snprintf(out, size, "%s%04X", hex, small); break;
        case HEX_8: snprintf(out, size, "%s%08X", hex, small); break;
        case HEX_SMALL: snprintf(out, size, "0x%" PRIx64, number); break;
        case HEX_16: snprintf(out, size, "0x%016" PRIx64, number); break;
        case STATE: snprintf(out, size, "P%u", small); break;
        default: snprintf(out, size, "%" PRIu64, number); break;
    }
}

static void write_value(enum style style, enum form form, const struct value *value, char *out, size_t size) {
    const char *word = word_for(style, value->number);
    if (style == PLAIN_TEXT)
        snprintf(out, size, "%s", value->text);
    else if (word)
        snprintf(out, size, "%s", word);
    else
        write_number(style, form, value->number, out, size);
}

/* What stands for a value that a GPU does not give. */
static const char *absence(int result) {
    if (result == NOT_SUPPORTED || result == FUNCTION_NOT_FOUND) return "N/A";
    return error_text(result);
}
