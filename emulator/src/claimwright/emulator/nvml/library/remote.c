/* Calls that the node answers: a body checks the form of its arguments, sends them in one packet, and copies the answer
 * back, never beyond what the caller has room for. What each argument is, is generated (_generated/calls.h). */

enum part_kind { HANDLE, NUMBER_BY_VALUE, INPUT, RECORD, VALUE, COUNT, ARRAY, TEXT_BUFFER };
enum handle_kind { NO_HANDLE, DEVICE, GPU_INSTANCE, COMPUTE_INSTANCE };
enum { MOST_PARTS = 8, LONGEST_INPUT = 255, NESTED_PART = 64, NOTHING = 0xffffffff };

/* One version of a record: its word (0: none), and what in it travels differently. */
struct variant {
    uint32_t word, size;
    struct { uint16_t pointer, count; uint32_t size; bool sent; } nested; /* size 0: none */
    struct { uint16_t offset; uint8_t kind; } handles[3];
};

struct part {
    uint8_t kind, handle, width;
    bool is_signed, optional, sent, room_is_pointed_at;
    uint8_t room, divisor; /* the parameter that says how many, and what it is divided by */
    uint32_t size, fixed;  /* of one element; how many where no parameter says it */
    const struct variant *variants;
    uint8_t variant_count;
};

/* One argument of a call under way: what is sent of it, and what may come back. */
struct carried {
    const struct variant *variant;
    const void *data;
    uint32_t room, bytes;
    uint64_t number;
};

struct call {
    const struct part *parts;
    const uint64_t *given;
    size_t count;
    struct carried carried[MOST_PARTS], nested[MOST_PARTS];
};

static uint32_t padded(uint32_t bytes) { return (bytes + 7) & ~7u; }

static int64_t handle_number(const void *handle) { return is_handle(handle) ? (int64_t)slot_of(handle) : -1; }

/* A handle's kind follows from its number alone; the GPU under it must answer. */
static int check_handle(const void *handle, enum handle_kind kind) {
    static const struct { uint32_t first, end, per_gpu; } ranges[] = {
        [DEVICE] = {CW_MIG_DEVICES, CW_GPU_INSTANCES, CW_INSTANCES * CW_COMPUTE_INSTANCES},
        [GPU_INSTANCE] = {CW_GPU_INSTANCES, CW_COMPUTE_INSTANCE_HANDLES, CW_INSTANCES},
        [COMPUTE_INSTANCE] = {CW_COMPUTE_INSTANCE_HANDLES, CW_HANDLES, CW_INSTANCES * CW_COMPUTE_INSTANCES},
    };
    const struct cw_gpu *page;
    NEED(is_handle(handle) && kind != NO_HANDLE);
    uint32_t number = slot_of(handle);
    if (kind == DEVICE && number < CW_CAPACITY) return open_page(handle, &page);
    NEED(number >= ranges[kind].first && number < ranges[kind].end);
    return open_page(&devices[(number - ranges[kind].first) / ranges[kind].per_gpu], &page);
}

static uint32_t room_of(const struct call *call, const struct part *part, uint32_t unit) {
    uint64_t count = part->fixed;
    if (!count) {
        uint64_t given = call->given[part->room];
        uint32_t pointed = 0;
        if (part->room_is_pointed_at && given) memcpy(&pointed, (const void *)(uintptr_t)given, sizeof pointed);
        count = (part->room_is_pointed_at ? pointed : (uint32_t)given) / (part->divisor ? part->divisor : 1);
        if (call->parts[part->room].is_signed && (int32_t)given < 0) count = 0;
    }
    return count > CW_PACKET_BYTES / unit ? CW_PACKET_BYTES / unit * unit : (uint32_t)count * unit;
}

static const struct variant *find_variant(const struct part *part, const void *record) {
    uint32_t word = 0;
    if (part->variants->word) memcpy(&word, record, sizeof word);
    for (size_t index = 0; index < part->variant_count; index++)
        if (part->variants[index].word == word) return &part->variants[index];
    return NULL;
}

static void carry_nested(const struct variant *variant, const uint8_t *record, struct carried *out) {
    uint32_t count;
    memcpy(&count, record + variant->nested.count, sizeof count);
    memcpy(&out->data, record + variant->nested.pointer, sizeof out->data);
    uint32_t most = CW_PACKET_BYTES / variant->nested.size;
    out->room = out->data ? (count < most ? count : most) * variant->nested.size : 0;
    out->bytes = variant->nested.sent ? out->room : 0;
}

static int carry_record(const struct part *part, const void *record, struct carried *out, struct carried *nested) {
    out->variant = find_variant(part, record);
    if (!out->variant) return ARGUMENT_VERSION_MISMATCH;
    out->data = record;
    out->room = out->bytes = out->variant->size;
    if (out->variant->nested.size) carry_nested(out->variant, record, nested);
    return SUCCESS;
}

static int carry_pointer(struct call *call, size_t index) {
    const struct part *part = &call->parts[index];
    struct carried *out = &call->carried[index];
    out->data = (const void *)(uintptr_t)call->given[index];
    out->room = NOTHING;
    NEED(out->data || part->optional);
    if (!out->data) return SUCCESS;
    if (part->kind == ARRAY || part->kind == TEXT_BUFFER) out->room = room_of(call, part, part->size);
    switch (part->kind) {
        case INPUT:
            out->bytes = (uint32_t)strnlen(out->data, LONGEST_INPUT + 1);
            NEED(out->bytes <= LONGEST_INPUT);
            return SUCCESS;
        case RECORD: return carry_record(part, out->data, out, &call->nested[index]);
        case ARRAY: case TEXT_BUFFER: break;
        default: out->room = part->size;
    }
    if (part->sent || part->kind == COUNT) out->bytes = out->room;
    return SUCCESS;
}

/* Handles first, as the driver does: a lost GPU is lost whatever else is wrong with the call. */
static int carry(struct call *call) {
    for (size_t index = 0; index < call->count; index++) {
        if (call->parts[index].kind != HANDLE) continue;
        const void *handle = (const void *)(uintptr_t)call->given[index];
        int result = check_handle(handle, call->parts[index].handle);
        if (result != SUCCESS) return result;
        call->carried[index].number = slot_of(handle);
    }
    for (size_t index = 0; index < call->count; index++) {
        const struct part *part = &call->parts[index];
        struct carried *out = &call->carried[index];
        if (part->kind == NUMBER_BY_VALUE) {
            uint64_t mask = part->width == 8 ? ~0ull : (1ull << 8 * part->width) - 1;
            out->number = call->given[index] & mask;
            if (part->is_signed && part->width == 4) out->number = (uint64_t)(int64_t)(int32_t)out->number;
        } else if (part->kind != HANDLE) {
            int result = carry_pointer(call, index);
            if (result != SUCCESS) return result;
        }
        if (part->kind == HANDLE || part->kind == NUMBER_BY_VALUE) {
            out->data = &out->number;
            out->room = out->bytes = sizeof out->number;
        }
    }
    return node_is_dead() ? GPU_IS_LOST : SUCCESS;
}

static size_t request_bytes(const struct call *call) {
    size_t bytes = sizeof(struct cw_request);
    for (size_t index = 0; index < call->count; index++)
        bytes += 16 + padded(call->carried[index].bytes) + padded(call->nested[index].bytes);
    return bytes;
}

static size_t reply_bytes(const struct call *call) {
    size_t bytes = sizeof(struct cw_reply);
    for (size_t index = 0; index < call->count; index++) {
        uint32_t room = call->carried[index].room == NOTHING ? 0 : call->carried[index].room;
        bytes += 16 + (size_t)padded(room) + padded(call->nested[index].room);
    }
    return bytes < CW_PACKET_BYTES ? bytes : CW_PACKET_BYTES;
}

static void *handle_behind(const uint8_t *place) {
    void *handle;
    memcpy(&handle, place, sizeof handle);
    return handle;
}

/* In a packet a handle is its number. */
static void put_number(uint8_t *place, int64_t number) { memcpy(place, &number, sizeof number); }

static uint8_t *put_part(uint8_t *at, const struct carried *carried) {
    uint32_t head[2] = {carried->room, carried->bytes};
    memcpy(at, head, sizeof head);
    if (carried->bytes) memcpy(at + sizeof head, carried->data, carried->bytes);
    if (carried->variant)
        for (size_t index = 0; index < COUNT_OF(carried->variant->handles); index++)
            if (carried->variant->handles[index].kind) {
                uint8_t *place = at + sizeof head + carried->variant->handles[index].offset;
                put_number(place, handle_number(handle_behind(place)));
            }
    return at + sizeof head + padded(carried->bytes);
}

static size_t write_request(const struct call *call, uint32_t number, uint8_t *packet) {
    struct cw_request request = {.magic = CW_MAGIC, .operation = CW_CALL, .slot = number};
    memcpy(packet, &request, sizeof request);
    uint8_t *at = packet + sizeof request;
    for (size_t index = 0; index < call->count; index++) at = put_part(at, &call->carried[index]);
    for (size_t index = 0; index < call->count; index++)
        if (call->carried[index].variant && call->carried[index].variant->nested.size)
            at = put_part(at, &call->nested[index]);
    return (size_t)(at - packet);
}

static void give_handle(uint8_t *place) {
    uint64_t number;
    memcpy(&number, place, sizeof number);
    void *handle = number < CW_HANDLES ? (void *)&devices[number] : NULL;
    memcpy(place, &handle, sizeof handle);
}

/* The caller's own pointer in a record stays what it was. */
static void give_record(const struct variant *variant, uint8_t *record, const uint8_t *from) {
    void *kept = NULL;
    if (variant->nested.size) memcpy(&kept, record + variant->nested.pointer, sizeof kept);
    memcpy(record, from, variant->size);
    if (variant->nested.size) memcpy(record + variant->nested.pointer, &kept, sizeof kept);
    for (size_t index = 0; index < COUNT_OF(variant->handles); index++)
        if (variant->handles[index].kind) give_handle(record + variant->handles[index].offset);
}

static bool give_part(struct call *call, uint32_t place, const uint8_t *from, uint32_t bytes) {
    uint32_t index = place % NESTED_PART;
    if (index >= call->count) return false;
    bool nested = place >= NESTED_PART;
    const struct carried *to = nested ? &call->nested[index] : &call->carried[index];
    if (!to->data || to->room == NOTHING || bytes > to->room) return false;
    uint8_t *out = (uint8_t *)(uintptr_t)to->data;
    if (!nested && to->variant) {
        if (bytes != to->variant->size) return false;
        give_record(to->variant, out, from);
        return true;
    }
    memcpy(out, from, bytes);
    if (!nested && call->parts[index].handle)
        for (uint32_t at = 0; at + 8 <= bytes; at += 8) give_handle(out + at);
    return true;
}

static int read_reply(struct call *call, const uint8_t *packet, size_t bytes) {
    struct cw_reply reply;
    memcpy(&reply, packet, sizeof reply);
    size_t at = sizeof reply;
    while (at + 8 <= bytes) {
        uint32_t head[2];
        memcpy(head, packet + at, sizeof head);
        at += sizeof head;
        if (head[1] > bytes - at || !give_part(call, head[0], packet + at, head[1])) return UNKNOWN;
        at += padded(head[1]);
    }
    return reply.result;
}

static int ask(uint32_t number, const struct part *parts, size_t count, const uint64_t *given) {
    struct call call = {.parts = parts, .given = given, .count = count};
    _Alignas(8) uint8_t small[4096];
    ENTER();
    int result = carry(&call);
    if (result != SUCCESS) return result;
    size_t wanted = request_bytes(&call), room = reply_bytes(&call);
    if (wanted > CW_PACKET_BYTES) return INSUFFICIENT_RESOURCES;
    uint8_t *packet = small;
    if (wanted > sizeof small || room > sizeof small) packet = malloc(wanted > room ? wanted : room);
    if (!packet) return MEMORY;
    size_t got = 0;
    result = converse(packet, write_request(&call, number, packet), packet, room, &got);
    if (result == SUCCESS) result = got < sizeof(struct cw_reply) ? UNKNOWN : read_reply(&call, packet, got);
    if (packet != small) free(packet);
    return result;
}

#define REMOTE(name, number, parameters, ...)                            \
    static int body_##name parameters {                                  \
        const uint64_t given_[] = {__VA_ARGS__};                         \
        return ask(number, parts_##name, COUNT_OF(parts_##name), given_); \
    }
/* A call that NVML does not have. */
#define REMOTE_FOR_US(name, number, parameters, ...)                     \
    static int name parameters {                                         \
        const uint64_t given_[] = {__VA_ARGS__};                         \
        return ask(number, parts_##name, COUNT_OF(parts_##name), given_); \
    }
/* A getter that reads the page for GPUs, and asks the node for MIG devices. */
#define REMOTE_FOR_INSTANCES(name, number, parameters, arguments, ...)                  \
    static int body_##name parameters {                                                 \
        if (LIKELY(!is_instance(device))) return hot_##name arguments;                  \
        const uint64_t given_[] = {__VA_ARGS__};                                        \
        return ask(number, parts_##name, COUNT_OF(parts_##name), given_);               \
    }
/* The C body looks among GPUs; what it does not find may be a MIG device's. */
#define REMOTE_WHEN_NOT_FOUND(name, number, parameters, arguments, ...)                 \
    static int body_##name parameters {                                                 \
        int result_ = hot_##name arguments;                                             \
        if (LIKELY(result_ != NOT_FOUND)) return result_;                               \
        const uint64_t given_[] = {__VA_ARGS__};                                        \
        return seen(ask(number, parts_##name, COUNT_OF(parts_##name), given_), device); \
    }
#define GIVEN(argument) (uint64_t)(uintptr_t)(argument)

#include "_generated/calls.h"
#include "_generated/inherited.h"
