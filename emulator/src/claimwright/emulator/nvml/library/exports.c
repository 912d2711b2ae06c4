/* Every exported function: its body, unless a fault (fault class nvml-slow, nvml-fails) says otherwise. */

enum { FAULT_SLICE_MS = 20 };

/* The GPU that a handle belongs to, whatever it is a handle of (handles.py). */
static uint32_t gpu_of_number(uint32_t number) {
    if (number < CW_CAPACITY) return number;
    if (number < CW_GPU_INSTANCES) return (number - CW_MIG_DEVICES) / (CW_INSTANCES * CW_COMPUTE_INSTANCES);
    if (number < CW_COMPUTE_INSTANCE_HANDLES) return (number - CW_GPU_INSTANCES) / CW_INSTANCES;
    return (number - CW_COMPUTE_INSTANCE_HANDLES) / (CW_INSTANCES * CW_COMPUTE_INSTANCES);
}

static const struct cw_call_fault *find_call_fault(uint32_t function, const void *handle) {
    const struct cw_header *now = header();
    uint32_t slot = is_handle(handle) ? gpu_of_number(slot_of(handle)) : ABSENT, count = load(&now->call_fault_count);
    for (uint32_t index = 0; index < count && index < CW_CALL_FAULTS; index++) {
        const struct cw_call_fault *fault = &now->call_faults[index];
        if (load(&fault->function) == function && (load(&fault->slot) == ABSENT || fault->slot == slot)) return fault;
    }
    return NULL;
}

/* Sleeps in slices, so that clearing the fault, or the end of the node, ends the wait. */
static int suffer(uint32_t function, const void *handle) {
    const struct cw_call_fault *fault;
    int64_t start = monotonic_ms();
    while ((fault = find_call_fault(function, handle)) && !node_is_dead()) {
        int64_t left = (int64_t)load(&fault->delay_ms) - (monotonic_ms() - start);
        if (left <= 0) return fault->result;
        struct timespec slice = {.tv_nsec = (left < FAULT_SLICE_MS ? left : FAULT_SLICE_MS) * 1000000};
        nanosleep(&slice, NULL);
    }
    return SUCCESS;
}

/* Before the first init there is nothing to look at: start() looks for it. */
static inline bool any_call_faults(void) {
    const uint8_t *pages = atomic_load_explicit(&node.pages, memory_order_relaxed);
    return UNLIKELY(pages && load(&((const struct cw_header *)pages)->call_fault_count));
}

#define EXPORT(name, code, parameters, arguments, handle)                  \
    EXPORTED int name parameters {                                         \
        if (any_call_faults()) {                                           \
            int fault_ = suffer(code, handle);                             \
            if (fault_ != SUCCESS) return fault_;                          \
        }                                                                  \
        return body_##name arguments;                                      \
    }
#include "_generated/exports.h"
#undef EXPORT
