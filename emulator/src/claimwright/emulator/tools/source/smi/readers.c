/* Ways to ask the library for one value; a row of the table names the way, the function and a selector. */

typedef int (*reader)(void *gpu, const char *function, int selector, struct value *out);

static int read_nothing(void *gpu, const char *function, int selector, struct value *out) {
    (void)gpu, (void)function, (void)selector, (void)out;
    return NOT_SUPPORTED; /* what no board here has, or what has no public call */
}

static int read_text(void *gpu, const char *function, int selector, struct value *out) {
    (void)selector;
    return CALL(function, (void *, char *, unsigned), gpu, out->text, sizeof out->text);
}

/* The buffer's length is fixed by the header: 80 bytes. */
static int read_gsp_version(void *gpu, const char *function, int selector, struct value *out) {
    (void)selector;
    return CALL(function, (void *, char *), gpu, out->text);
}

/* Text that depends on a number: an InfoROM object, a private fact. */
static int read_indexed_text(void *gpu, const char *function, int selector, struct value *out) {
    return CALL(function, (void *, unsigned, char *, unsigned), gpu, (unsigned)selector, out->text, sizeof out->text);
}

static int read_number(void *gpu, const char *function, int selector, struct value *out) {
    unsigned number = 0;
    (void)selector;
    int result = CALL(function, (void *, unsigned *), gpu, &number);
    out->number = number;
    return result;
}

/* Selects a clock, a sensor, a counter or a threshold. */
static int read_indexed(void *gpu, const char *function, int selector, struct value *out) {
    unsigned number = 0;
    int result = CALL(function, (void *, unsigned, unsigned *), gpu, (unsigned)selector, &number);
    out->number = number;
    return result;
}

static int read_pair(void *gpu, const char *function, int selector, struct value *out) {
    unsigned pair[2] = {0};
    int result = CALL(function, (void *, unsigned *, unsigned *), gpu, &pair[0], &pair[1]);
    out->number = pair[selector];
    return result;
}

static int read_triple(void *gpu, const char *function, int selector, struct value *out) {
    unsigned triple[3] = {0};
    int result = CALL(function, (void *, unsigned *, unsigned *, unsigned *), gpu, &triple[0], &triple[1], &triple[2]);
    out->number = triple[selector];
    return result;
}

/* A record of plain unsigned numbers without a version word. */
static int read_numbers(void *gpu, const char *function, int selector, struct value *out) {
    unsigned numbers[16] = {0};
    int result = CALL(function, (void *, unsigned *), gpu, numbers);
    out->number = numbers[selector];
    return result;
}

static int read_versioned(void *gpu, const char *function, int selector, struct value *out) {
    struct versioned_number record = VERSIONED(record, 1);
    (void)selector;
    int result = CALL(function, (void *, void *), gpu, &record);
    out->number = (uint64_t)record.value;
    return result;
}

static int read_versioned_u64(void *gpu, const char *function, int selector, struct value *out) {
    struct versioned_u64 record = VERSIONED(record, 1);
    (void)selector;
    int result = CALL(function, (void *, void *), gpu, &record);
    out->number = record.value;
    return result;
}

/* Selector: the bit to test. */
static int read_bit(void *gpu, const char *function, int selector, struct value *out) {
    uint64_t bits = 0;
    int result = CALL(function, (void *, uint64_t *), gpu, &bits);
    out->number = bits & (uint64_t)selector;
    return result;
}

static int read_u64(void *gpu, const char *function, int selector, struct value *out) {
    (void)selector;
    return CALL(function, (void *, uint64_t *), gpu, &out->number);
}

enum { SCOPE_GPU, SCOPE_MODULE, SCOPE_MEMORY }; /* nvml.h NVML_POWER_SCOPE_* */

/* A field value; its scope in the upper half of the selector. Each type is read as what it is. */
#define SCOPED(field, scope) ((field) | (scope) << 16)
static int read_field(void *gpu, const char *function, int selector, struct value *out) {
    enum { REAL = 0, U32 = 1, I32 = 5 };
    struct field_value value = {.field = selector & 0xffff, .scope = (unsigned)selector >> 16};
    (void)function;
    int result = CALL("nvmlDeviceGetFieldValues", (void *, int, struct field_value *), gpu, 1, &value);
    if (result || value.result) return result ? result : value.result;
    switch (value.type) {
        case REAL: out->number = (uint64_t)(int64_t)value.value.real; break;
        case U32: out->number = value.value.u32; break;
        case I32: out->number = (uint64_t)(int64_t)value.value.i32; break;
        default: out->number = value.value.u64; break;
    }
    return OK;
}

/* What the real tool takes from private tables of the driver. */
static int read_fact(void *gpu, const char *function, int selector, struct value *out) {
    (void)selector;
    return CALL("claimwrightDeviceGetFact", (void *, const char *, char *, unsigned), gpu, function, out->text,
                sizeof out->text);
}
