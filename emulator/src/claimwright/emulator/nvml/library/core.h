/* What every source of the library shares: entry checks, consistent reads of a page, handles. One translation unit
 * (library.c) includes all sources, so everything but the NVML names is static. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "_generated/pages.h"
#include "_generated/split.h"
#include "abi.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Bits of a robust futex word (linux/futex.h). */
#define OWNER_DIED 0x40000000u

#define ABSENT 0xffffffffu
#define ABSENT_I32 INT32_MIN
#define ABSENT_U64 UINT64_MAX

#define EXPORTED __attribute__((visibility("default")))
/* A body; exports.c has the function of that name, which calls it unless a fault is injected. One that also answers for
 * MIG devices by asking the node is called by a generated one, which chooses (SPLIT_<name> in _generated/split.h). */
#define API(name) CHOOSE(SPLIT_##name, static int hot_##name, static int body_##name, ~)
#define CHOOSE(...) CHOOSE_THIRD(__VA_ARGS__)
#define CHOOSE_THIRD(first, second, third, ...) third
/* A body whose answer no state and no board changes; docs/nvml-functions.md counts such functions apart. */
#define FIXED(name) API(name)
/* A name that is not of NVML: exported as it stands. */
#define OWN_API(name) EXPORTED int name
#define TEXT_API(name) __attribute__((visibility("default"))) const char *name
#define ALIAS(name, target) \
    extern __typeof__(target) name __attribute__((alias(#target), visibility("default"), copy(target)))

/* A handle is the address of one of these. Its place in the array is its number: a GPU's is its place in the pages,
 * then come MIG devices, GPU instances and compute instances (handles.py), so that no handle needs to be remembered. */
struct device {
    char unused;
};
static struct device devices[CW_HANDLES];

static struct {
    _Atomic int references;
    _Atomic(uint8_t *) pages; /* stays mapped after shutdown: a getter of another thread may still read */
    /* The topology that was looked at, and below it one bit per GPU whose device node may be opened: in one word, or of
     * two threads that look at once the later topology could keep the earlier answer. */
    _Atomic uint64_t seen;
} node;

static inline const struct cw_header *header(void) {
    return (const struct cw_header *)atomic_load_explicit(&node.pages, memory_order_relaxed);
}

static inline const struct cw_gpu *page_at(uint32_t slot) {
    const uint8_t *pages = atomic_load_explicit(&node.pages, memory_order_relaxed);
    return (const struct cw_gpu *)(pages + CW_HEADER_BYTES + (size_t)slot * CW_PAGE_BYTES);
}

static inline uint32_t load(const uint32_t *word) {
    return atomic_load_explicit((_Atomic const uint32_t *)word, memory_order_relaxed);
}

/* The node process holds a robust mutex in the page: the kernel marks it when the process dies, however it dies. A
 * driver that is being loaded anew is as good as dead. */
static inline bool node_is_dead(void) {
    const uint8_t *pages = atomic_load_explicit(&node.pages, memory_order_relaxed);
    const struct cw_owner *owner = (const struct cw_owner *)(pages + CW_OWNER_OFFSET);
    return (load(&owner->lock) & OWNER_DIED) | load(&owner->closed) | load(&owner->driver_gone);
}

static pthread_mutex_t gpm_lock = PTHREAD_MUTEX_INITIALIZER;

#define EXPORT(name, code, parameters, arguments, handle) EXPORTED int name parameters;
#include "_generated/exports.h"
#undef EXPORT
static int64_t monotonic_ms(void);
static int suffer(uint32_t function, const void *handle);
static uint32_t await_writer(const struct cw_gpu *page);

static inline uint32_t read_begin(const struct cw_gpu *page) {
    uint32_t sequence = atomic_load_explicit((_Atomic const uint32_t *)&page->sequence, memory_order_acquire);
    return LIKELY(!(sequence & 1)) ? sequence : await_writer(page);
}

static inline bool read_again(const struct cw_gpu *page, uint32_t sequence) {
    atomic_thread_fence(memory_order_acquire);
    return UNLIKELY(load(&page->sequence) != sequence);
}

/* Runs a statement that copies from the page until no write fell into it. */
#define CONSISTENTLY(page, ...)                      \
    do {                                             \
        uint32_t sequence_;                          \
        do {                                         \
            sequence_ = read_begin(page);            \
            __VA_ARGS__;                             \
        } while (read_again((page), sequence_));     \
    } while (0)

static inline bool is_handle(const void *device) {
    return (uintptr_t)device - (uintptr_t)devices < sizeof(devices);
}

static inline uint32_t slot_of(const void *device) {
    return (uint32_t)((const struct device *)device - devices);
}

static inline bool is_instance(const void *device) { return is_handle(device) && slot_of(device) >= CW_CAPACITY; }

/* The page behind a handle, or why there is none. */
static inline int open_page(const void *device, const struct cw_gpu **page) {
    if (UNLIKELY(!atomic_load_explicit(&node.references, memory_order_relaxed))) return UNINITIALIZED;
    if (UNLIKELY(!is_handle(device))) return INVALID_ARGUMENT;
    *page = page_at(slot_of(device));
    if (UNLIKELY(slot_of(device) >= header()->gpu_count)) return INVALID_ARGUMENT;
    if (UNLIKELY((load(&(*page)->flags) & (CW_LISTED | CW_LOST)) != CW_LISTED)) return GPU_IS_LOST;
    return LIKELY(!node_is_dead()) ? SUCCESS : GPU_IS_LOST;
}

/* Every body begins with one of these. */
#define ENTER()                                                                                   \
    do {                                                                                          \
        if (UNLIKELY(!atomic_load_explicit(&node.references, memory_order_relaxed))) return UNINITIALIZED; \
    } while (0)
#define OPEN(device, page)                             \
    const struct cw_gpu *page;                         \
    do {                                               \
        int opened_ = open_page((device), &page);      \
        if (UNLIKELY(opened_)) return opened_;         \
    } while (0)
#define NEED(condition)                                          \
    do {                                                         \
        if (UNLIKELY(!(condition))) return INVALID_ARGUMENT;     \
    } while (0)
#define NEED_VERSION(word, expected)                                          \
    do {                                                                      \
        if (UNLIKELY((word) != (expected))) return ARGUMENT_VERSION_MISMATCH; \
    } while (0)

/* A writer killed in the middle leaves torn values behind: say so instead of giving them. */
static inline int finish(void) { return LIKELY(!node_is_dead()) ? SUCCESS : GPU_IS_LOST; }

static inline int give_u32(uint32_t value, uint32_t *out) {
    if (value == ABSENT) return NOT_SUPPORTED;
    *out = value;
    return finish();
}

static int give_text(const char *text, size_t capacity, char *out, unsigned length);
static int give_members(const uint32_t *members, uint32_t found, uint32_t *count, uint32_t *out);
static int converse(const void *request, size_t bytes, void *reply, size_t room, size_t *got);
static int command(uint32_t operation, uint32_t slot, const uint64_t *arguments, size_t count);
static bool is_listed(uint32_t slot);
static void *handle_at(uint32_t slot);
