/* Ways to give an answer back: never more than the caller has room for. */

static int give_text(const char *text, size_t capacity, char *out, unsigned length) {
    size_t have = strnlen(text, capacity - 1);
    NEED(out);
    if (have + 1 > length) return INSUFFICIENT_SIZE;
    memcpy(out, text, have);
    out[have] = 0;
    return finish();
}

/* The two-call way of counted arrays: too small a count gives the needed one back. */
static int give_members(const uint32_t *members, uint32_t found, uint32_t *count, uint32_t *out) {
    uint32_t room = *count;
    *count = found;
    if (room < found) return INSUFFICIENT_SIZE;
    NEED(out || !found);
    if (found) memcpy(out, members, found * sizeof *members);
    return finish();
}

/* A text member of the page behind a handle; an empty one is what the board does not report. Inline, so that the copy has
 * a size that the compiler knows. */
static inline __attribute__((always_inline)) int device_text(void *device, size_t offset, size_t capacity, char *out, unsigned length) {
    char text[128];
    OPEN(device, page);
    NEED(out);
    CONSISTENTLY(page, memcpy(text, (const char *)page + offset, capacity));
    return text[0] ? give_text(text, capacity, out, length) : NOT_SUPPORTED;
}

#define TEXT(function, member)                                                                         \
    API(function)(void *device, char *out, unsigned length) {                                          \
        return device_text(device, offsetof(struct cw_gpu, member), sizeof(((struct cw_gpu *)0)->member), out, length); \
    }

/* A number of the page behind a handle. */
#define NUMBER(function, member)                                \
    API(function)(void *device, uint32_t *out) {                \
        OPEN(device, page);                                     \
        NEED(out);                                              \
        uint32_t value;                                         \
        CONSISTENTLY(page, value = page->member);               \
        return give_u32(value, out);                            \
    }

/* A number that every board answers alike. */
#define CONSTANT(function, number)                   \
    API(function)(void *device, uint32_t *out) {     \
        OPEN(device, page);                          \
        (void)page;                                  \
        NEED(out);                                   \
        *out = (number);                             \
        return SUCCESS;                              \
    }

#define PAIR(function, first_member, second_member)                     \
    API(function)(void *device, uint32_t *first, uint32_t *second) {    \
        OPEN(device, page);                                             \
        NEED(first && second);                                          \
        uint32_t values[2];                                             \
        CONSISTENTLY(page, values[0] = page->first_member; values[1] = page->second_member); \
        if (values[0] == ABSENT || values[1] == ABSENT) return NOT_SUPPORTED; \
        *first = values[0];                                             \
        *second = values[1];                                            \
        return finish();                                                \
    }
