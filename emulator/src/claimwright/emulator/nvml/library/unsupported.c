/* Everything else checks its arguments and says NOT_SUPPORTED. */

#define STUB(name, parameters, checks) \
    API(name) parameters {             \
        ENTER();                       \
        checks return NOT_SUPPORTED;   \
    }
#define NO_CHECKS
#define CHECK_NUMBER(value) (void)value;
#define CHECK_OPTIONAL(pointer) (void)pointer;
#define CHECK_POINTER(pointer) NEED(pointer);
#define CHECK_DEVICE(device)                              \
    do {                                                  \
        const struct cw_gpu *page_;                       \
        int opened_ = open_page(device, &page_);          \
        if (opened_ != SUCCESS) return opened_;           \
    } while (0);
/* No such thing exists on this node, so no handle of it is valid. */
#define CHECK_NO_HANDLE(handle) \
    (void)handle;               \
    return INVALID_ARGUMENT;
#define CHECK_VERSION(record, ...)                                                \
    do {                                                                          \
        const uint32_t accepted_[] = {__VA_ARGS__};                               \
        NEED(record);                                                             \
        if (!is_accepted(record, accepted_, COUNT_OF(accepted_))) return ARGUMENT_VERSION_MISMATCH; \
    } while (0);

static bool is_accepted(const void *record, const uint32_t *accepted, size_t count) {
    uint32_t word;
    memcpy(&word, record, sizeof word);
    for (size_t index = 0; index < count; index++)
        if (accepted[index] == word) return true;
    return false;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "_generated/unsupported.h"
#pragma GCC diagnostic pop
