/* Rows: ECC, retired pages, remapped rows. */
GROUP(1, "ecc_mode", "ECC Mode", .sections = ECC),
LEAF(2, "current_ecc", "Current", ENABLED, read_pair, "nvmlDeviceGetEccMode", 0, "ecc.mode.current",
     "Whether ECC is on. Set with -e."),
LEAF(2, "pending_ecc", "Pending", ENABLED, read_pair, "nvmlDeviceGetEccMode", 1, "ecc.mode.pending",
     "Whether ECC is on after the next reboot or reset."),
#define COUNTED(depth, tag, label, selector, ...) \
    LEAF(depth, tag, label, NUMBER, read_error_count, "", selector, NULL, NULL, ##__VA_ARGS__)
#define SRAM_LEAF(depth, tag, label, member, query, help) LEAF(depth, tag, label, NUMBER, read_sram, "", member, query, help)
GROUP(1, "ecc_errors", "ECC Errors", .sections = ECC, .when = is_turing),
GROUP(2, "volatile", "Volatile"),
COUNTED(3, "sram_correctable", "SRAM Correctable", AT(SRAM)),
COUNTED(3, "sram_uncorrectable", "SRAM Uncorrectable", AT(SRAM) | UNCORRECTED),
COUNTED(3, "dram_correctable", "DRAM Correctable", AT(DRAM)),
COUNTED(3, "dram_uncorrectable", "DRAM Uncorrectable", AT(DRAM) | UNCORRECTED),
GROUP(2, "aggregate", "Aggregate"),
COUNTED(3, "sram_correctable", "SRAM Correctable", AT(SRAM) | AGGREGATE),
COUNTED(3, "sram_uncorrectable", "SRAM Uncorrectable", AT(SRAM) | UNCORRECTED | AGGREGATE),
COUNTED(3, "dram_correctable", "DRAM Correctable", AT(DRAM) | AGGREGATE),
COUNTED(3, "dram_uncorrectable", "DRAM Uncorrectable", AT(DRAM) | UNCORRECTED | AGGREGATE),
GROUP(1, "ecc_errors", "ECC Errors", .sections = ECC, .when = is_ampere_or_later),
GROUP(2, "volatile", "Volatile"),
SRAM_LEAF(3, "sram_correctable", "SRAM Correctable", VOL_CORRECTED, NULL, NULL),
SRAM_LEAF(3, "sram_uncorrectable_parity", "SRAM Uncorrectable Parity", VOL_PARITY,
          "ecc.errors.uncorrected.volatile.sram.parity", "SRAM errors found by parity since the driver was loaded."),
SRAM_LEAF(3, "sram_uncorrectable_secded", "SRAM Uncorrectable SEC-DED", VOL_SECDED,
          "ecc.errors.uncorrected.volatile.sram.secded", "SRAM errors found by SEC-DED since the driver was loaded."),
COUNTED(3, "dram_correctable", "DRAM Correctable", AT(DRAM)),
COUNTED(3, "dram_uncorrectable", "DRAM Uncorrectable", AT(DRAM) | UNCORRECTED),
GROUP(2, "aggregate", "Aggregate"),
SRAM_LEAF(3, "sram_correctable", "SRAM Correctable", AGG_CORRECTED, NULL, NULL),
SRAM_LEAF(3, "sram_uncorrectable_parity", "SRAM Uncorrectable Parity", AGG_PARITY,
          "ecc.errors.uncorrected.aggregate.sram.parity", "SRAM errors found by parity in the GPU's life."),
SRAM_LEAF(3, "sram_uncorrectable_secded", "SRAM Uncorrectable SEC-DED", AGG_SECDED,
          "ecc.errors.uncorrected.aggregate.sram.secded", "SRAM errors found by SEC-DED in the GPU's life."),
COUNTED(3, "dram_correctable", "DRAM Correctable", AT(DRAM) | AGGREGATE),
COUNTED(3, "dram_uncorrectable", "DRAM Uncorrectable", AT(DRAM) | UNCORRECTED | AGGREGATE),
LEAF(3, "sram_threshold_exceeded", "SRAM Threshold Exceeded", YES_NO, read_sram, "", THRESHOLD,
     "ecc.errors.uncorrected.aggregate.sram.thresholdExceeded", "Whether SRAM errors passed the count that calls for a new board."),
GROUP(2, "aggregate_uncorrectable_sram_sources", "Aggregate Uncorrectable SRAM Sources"),
#define SOURCE(tag, label, member, name) \
    SRAM_LEAF(3, "sram_" tag, label, member, "ecc.errors.uncorrected.aggregate.sram." name, "... of those in this unit.")
SOURCE("l2", "SRAM L2", IN_L2, "l2"),
SOURCE("sm", "SRAM SM", IN_SM, "sm"),
SOURCE("microcontroller", "SRAM Microcontroller", IN_MICROCONTROLLER, "mcu"),
SOURCE("pcie", "SRAM PCIE", IN_PCIE, "pcie"),
SOURCE("other", "SRAM Other", IN_OTHER, "other"),
#undef SOURCE
LEAF(2, "channel_repair_pending", "Channel Repair Pending", YES_NO, read_repair, "", 0, NULL, NULL, .since = 580000),
LEAF(2, "tpc_repair_pending", "TPC Repair Pending", YES_NO, read_repair, "", 1, NULL, NULL, .since = 580000),
LEAF(2, "unrepairable_memory", "Unrepairable Memory", YES_NO, read_versioned, "nvmlDeviceGetUnrepairableMemoryFlag_v1", 0,
     NULL, NULL, .since = 580173),
#undef COUNTED
#undef SRAM_LEAF
#define COUNTS(kind, since, selector, when)                                                                            \
    ASKED(NUMBER, read_error_count, "", AT(DRAM) | (selector), "ecc.errors." kind "." since ".device_memory", when),    \
    ASKED(NUMBER, read_error_count, "", AT(DRAM) | (selector), "ecc.errors." kind "." since ".dram", when),             \
    ASKED(NUMBER, read_error_count, "", AT(REGISTERS) | (selector), "ecc.errors." kind "." since ".register_file", when), \
    ASKED(NUMBER, read_error_count, "", AT(L1_CACHE) | (selector), "ecc.errors." kind "." since ".l1_cache", when),     \
    ASKED(NUMBER, read_error_count, "", AT(L2_CACHE) | (selector), "ecc.errors." kind "." since ".l2_cache", when),     \
    ASKED(NUMBER, read_error_count, "", AT(TEXTURE) | (selector), "ecc.errors." kind "." since ".texture_memory", when), \
    ASKED(NUMBER, read_error_count, "", AT(CBU) | (selector), "ecc.errors." kind "." since ".cbu", when),               \
    ASKED(NUMBER, read_error_count, "", AT(SRAM) | (selector), "ecc.errors." kind "." since ".sram", when),             \
    ASKED(NUMBER, read_error_total, "", selector, "ecc.errors." kind "." since ".total", when)
COUNTS("corrected", "volatile", 0, "Errors corrected since the driver was loaded."),
COUNTS("corrected", "aggregate", AGGREGATE, "Errors corrected in the GPU's life."),
COUNTS("uncorrected", "volatile", UNCORRECTED, "Errors not corrected since the driver was loaded."),
COUNTS("uncorrected", "aggregate", UNCORRECTED | AGGREGATE, "Errors not corrected in the GPU's life."),
#undef COUNTS
GROUP(1, "retired_pages", "Retired Pages", .sections = PAGE_RETIREMENT, .list = list_retired_pages),
ASKED(NUMBER, read_retired_count, "", 0, "retired_pages.single_bit_ecc.count retired_pages.sbe",
      "Pages given up after several errors that were corrected."),
ASKED(NUMBER, read_retired_count, "", 1, "retired_pages.double_bit.count retired_pages.dbe",
      "Pages given up after an error that was not."),
ASKED(YES_NO, read_number, "nvmlDeviceGetRetiredPagesPendingStatus", 0, "retired_pages.pending",
      "Whether the next reset gives up a page."),
GROUP(1, "remapped_rows", "Remapped Rows", .sections = ROW_REMAPPER, .read = read_remapped),
LEAF(2, "remapped_row_corr", "Correctable Error", NUMBER, read_remapped, "", 0, "remapped_rows.correctable",
     "Rows replaced after correctable errors."),
LEAF(2, "remapped_row_corr_inactive", "Correctable Error Inactive", NUMBER, read_numbers, "nvmlDeviceGetRemappedRows_v2",
     1, "remapped_rows.correctable_inactive", "... of them, those not in use.", .since = 580173),
LEAF(2, "remapped_row_unc", "Uncorrectable Error", NUMBER, read_remapped, "", 1, "remapped_rows.uncorrectable",
     "Rows replaced after uncorrectable errors."),
LEAF(2, "remapped_row_unc_inactive", "Uncorrectable Error Inactive", NUMBER, read_numbers,
     "nvmlDeviceGetRemappedRows_v2", 3, "remapped_rows.uncorrectable_inactive", "... of them, those not in use.", .since = 580173),
LEAF(2, "remapped_row_pending", "Pending", YES_NO, read_remapped, "", 2, "remapped_rows.pending",
     "Whether the next reset replaces a row."),
LEAF(2, "remapped_row_failure", "Remapping Failure Occurred", YES_NO, read_remapped, "", 3, "remapped_rows.failure",
     "Whether a row could not be replaced: the board has to be."),
GROUP(2, "row_remapper_histogram", "Bank Remap Availability Histogram"),
#define BANK(tag, label, member)                                                                                       \
    LEAF(3, "row_remapper_histogram_" tag, label, BANKS, read_numbers, "nvmlDeviceGetRowRemapperHistogram", member,      \
         "remapped_rows.histogram." tag, "Banks by what they have left for replacement: " tag ".")
BANK("max", "Max", 0),
BANK("high", "High", 1),
BANK("partial", "Partial", 2),
BANK("low", "Low", 3),
BANK("none", "None", 4),
#undef BANK
