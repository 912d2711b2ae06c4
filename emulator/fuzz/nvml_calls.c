/* Calls NVML functions with rubbish: nvml_calls LIBRARY PLAN PROGRESS SEED FIRST CALLS LIMIT_MS [describe].
 *
 * PLAN has one function a line and one word an argument, as nvml_fuzz.py writes it. What a turn calls follows from SEED
 * and its number alone, so that one turn can be repeated, or described without being made. Whatever a pointer points at
 * ends at an unreadable page and begins behind a canary. The turn under way is kept in PROGRESS, which survives us. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FUNCTIONS = 1024, ARGUMENTS = 8, VARIANTS = 8, POINTERS = 8, KEPT = 16, ROOM = 1 << 20, CANARY = 64, HUGE = 8000 };
enum { HANDLE_COUNT = 8192, MIG_DEVICES = 32, GPU_INSTANCES = 3872, COMPUTE_INSTANCES = 4352 }; /* handles.py */

struct variant { unsigned size, word, nested, count, unit, timeout, pointer_count, pointers[POINTERS]; };
struct argument {
    char kind, mark; /* H N I V C A R; what is special about it */
    unsigned size, divisor, fixed, variant_count;
    struct variant variants[VARIANTS];
};
struct function { char name[96]; void *entry; int count; struct argument arguments[ARGUMENTS]; };

static struct function functions[FUNCTIONS];
static int function_count;
static uint8_t *areas[2 * ARGUMENTS];
static void *kept[2][KEPT]; /* event sets and GPM samples, freed ones too */
static uint8_t *first_handle;
static bool describing;
static uint64_t dice;

static uint64_t roll(void) {
    uint64_t mixed = dice += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return mixed ^ mixed >> 31;
}
static bool once_in(unsigned times) { return roll() % times == 0; }

static void fail(const char *said) {
    fprintf(stderr, "%s\n", said);
    exit(3);
}

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint8_t *make_area(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *made = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED || mprotect(made + ROOM, page, PROT_NONE)) fail("no memory");
    return made;
}

static void read_variant(char *text, struct variant *out) {
    char *save, *part = strtok_r(text, "/", &save);
    unsigned *members[] = {&out->size, &out->word, &out->nested, &out->count, &out->unit, &out->timeout};
    for (int index = 0; index < 6; index++, part = strtok_r(NULL, "/", &save)) *members[index] = (unsigned)strtoul(part, NULL, 0);
    for (; part && out->pointer_count < POINTERS; part = strtok_r(NULL, "/", &save))
        out->pointers[out->pointer_count++] = (unsigned)strtoul(part, NULL, 0);
}

/* H:d  N:size:mark  I  V:size  C:size  A:size:divisor:fixed  R:variant;variant */
static void read_argument(char *word, struct argument *out) {
    char *save, *part = strtok_r(word, ":", &save);
    out->kind = *part;
    part = strtok_r(NULL, ":", &save);
    if (out->kind == 'R') {
        char *inner;
        for (char *each = strtok_r(part, ";", &inner); each && out->variant_count < VARIANTS; each = strtok_r(NULL, ";", &inner))
            read_variant(each, &out->variants[out->variant_count++]);
    } else if (out->kind == 'H') {
        out->mark = *part;
    } else if (part) {
        out->size = (unsigned)atoi(part);
        part = strtok_r(NULL, ":", &save);
        if (out->kind == 'N' && part) out->mark = *part;
        if (out->kind == 'A') out->divisor = (unsigned)atoi(part), out->fixed = (unsigned)atoi(strtok_r(NULL, ":", &save));
    }
}

static void read_plan(const char *path, void *library) {
    static char line[65536];
    FILE *plan = fopen(path, "r");
    if (!plan) fail("no plan");
    while (fgets(line, sizeof line, plan)) {
        char *save, *word = strtok_r(line, " \n", &save);
        struct function *next = &functions[function_count++];
        if (function_count == FUNCTIONS) fail("a plan of too many functions");
        snprintf(next->name, sizeof next->name, "%s", word);
        next->entry = dlsym(library, next->name);
        if (!next->entry) fail(next->name);
        while ((word = strtok_r(NULL, " \n", &save))) read_argument(word, &next->arguments[next->count++]);
    }
    fclose(plan);
}

static uint64_t number(unsigned size) {
    static const uint64_t usual[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 19, 50, 908, 2619, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull};
    uint64_t found = once_in(6) ? roll() : usual[roll() % (sizeof usual / sizeof *usual)];
    return size >= 8 ? found : found & ((1ull << 8 * size) - 1);
}

static void *handle(char kind) {
    unsigned gpu = roll() % 4, instance = roll() % 5, compute = roll() % 3;
    uint64_t place = roll() % 10, any = roll();
    if (place == 0) return NULL;
    if (place == 1) {
        void *odd[] = {(void *)1, first_handle - 1, first_handle + HANDLE_COUNT, first_handle + any % HANDLE_COUNT,
                       (void *)(uintptr_t)any, &gpu, kept[0][0], kept[1][0]};
        return odd[any >> 32 & 7];
    }
    if (kind == 'e' || kind == 's') return kept[kind == 's'][any % KEPT];
    if (!first_handle) return (void *)(uintptr_t)any;
    if (kind == 'g') return first_handle + GPU_INSTANCES + gpu * 15 + instance;
    if (kind == 'c') return first_handle + COMPUTE_INSTANCES + (gpu * 15 + instance) * 8 + compute;
    if (place == 2) return first_handle + MIG_DEVICES + (gpu * 15 + instance) * 8 + compute;
    return first_handle + gpu;
}

static uint8_t *lay(int area, size_t size) {
    uint8_t *start = areas[area] + ROOM - size;
    if (size + CANARY <= ROOM) memset(start - CANARY, 0xa5, CANARY);
    return start;
}

static bool is_touched(const uint8_t *start) {
    for (int at = 1; at <= CANARY; at++)
        if (start[-at] != 0xa5) return true;
    return false;
}

static void fill(uint8_t *start, size_t size) {
    switch (roll() % 4) {
        case 0: for (size_t at = 0; at < size; at++) start[at] = (uint8_t)roll(); break;
        case 1: for (size_t at = 0; at + 4 <= size; at += 4) { uint32_t some = (uint32_t)number(4); memcpy(start + at, &some, 4); } break;
        default: memset(start, 0, size);
    }
}

static void *text(int area) {
    static const char *const usual[] = {"", "%s%n%s%n", "GPU-", "0000:17:00.0", "00000000:17:00.0", "MIG-", "\xff\xfe", "-1", "1654922006536"};
    size_t long_ = once_in(4) ? roll() % 6000 : 0;
    const char *said = usual[roll() % (sizeof usual / sizeof *usual)];
    uint8_t *start = lay(area, (long_ ? long_ : strlen(said)) + 1);
    if (long_) memset(start, 'a' + (int)(long_ % 26), long_), start[long_] = 0;
    else strcpy((char *)start, said);
    return start;
}

/* A record has as many bytes as its version word says, whatever the function's newest version would have. */
static void *record(const struct argument *argument, int area, unsigned some) {
    const struct variant *variant = &argument->variants[roll() % argument->variant_count];
    bool foreign = variant->word && once_in(5);
    uint32_t word = foreign ? (once_in(2) ? (uint32_t)roll() : (variant->word & 0xffffff) | 0x63000000) : variant->word;
    uint8_t *start = lay(area, foreign ? 8 : variant->size); /* aligned as a record of that kind is */
    if (foreign) return memcpy(start, &word, 4);
    fill(start, variant->size);
    if (word) memcpy(start, &word, 4);
    uint32_t timeout_ms = roll() % 3; /* its member counts from 1, 0 is none */
    if (variant->timeout) memcpy(start + variant->timeout - 1, &timeout_ms, sizeof timeout_ms);
    for (unsigned index = 0; index < variant->pointer_count; index++) {
        void *held = handle("dgces"[roll() % 5]);
        memcpy(start + variant->pointers[index], &held, sizeof held);
    }
    if (variant->unit) {
        void *nested = once_in(5) ? NULL : lay(area + ARGUMENTS, some == HUGE ? ROOM - CANARY : (size_t)some * variant->unit);
        if (nested && some != HUGE) fill(nested, (size_t)some * variant->unit);
        uint32_t count = some == HUGE ? (uint32_t)number(4) | 0x10000000 : some;
        memcpy(start + variant->nested, &nested, sizeof nested);
        memcpy(start + variant->count, &count, sizeof count);
    }
    return start;
}

/* Counts of one call agree with each other, so that no array is shorter than the call says. */
static uint64_t make(const struct argument *argument, int area, unsigned some) {
    uint32_t count = some == HUGE ? (uint32_t)roll() | 0x10000000 : some;
    size_t size = argument->size;
    uint8_t *start;
    switch (argument->kind) {
        case 'H': return (uintptr_t)handle(argument->mark);
        case 'N': return argument->mark == 'c' ? count : argument->mark == 't' ? roll() % 3 : number(argument->size);
    }
    if (once_in(8)) return 0;
    switch (argument->kind) {
        case 'I': return (uintptr_t)text(area);
        case 'R': return (uintptr_t)record(argument, area, some);
        case 'A': size = argument->fixed ? size * argument->fixed : some == HUGE ? ROOM - CANARY : size * (some / argument->divisor);
    }
    start = lay(area, size);
    if (argument->kind == 'C') memcpy(start, &count, sizeof count);
    else if (size < ROOM / 2) fill(start, size);
    return (uintptr_t)start;
}

static void tell(const struct function *function, const uint64_t *given) {
    printf("%s(", function->name);
    for (int index = 0; index < function->count; index++) {
        const struct argument *argument = &function->arguments[index];
        const uint8_t *held = (const uint8_t *)(uintptr_t)given[index];
        if (index) printf(", ");
        if (argument->kind == 'H' && first_handle && held >= first_handle && held < first_handle + HANDLE_COUNT)
            printf("handle %td", held - first_handle);
        else if (argument->kind == 'I' && held) printf("\"%.60s\"", (const char *)held);
        else if (strchr("HNI", argument->kind) || !held) printf("%#" PRIx64, given[index]);
        else {
            size_t size = (size_t)(areas[index] + ROOM - held);
            printf("%zu bytes {", size);
            for (size_t at = 0; at < size && at < 32; at++) printf("%02x%s", held[at], at % 4 == 3 ? " " : "");
            printf("}");
        }
    }
    printf(")\n");
}

static void keep(int kind, void *made, int (*end)(void *)) {
    void **place = &kept[kind][roll() % KEPT];
    if (*place) end(*place); /* freed twice at times: it must be noticed */
    *place = made;
}

static int invoke(void *library, const struct function *function, const uint64_t *given) {
    int (*entry)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) = function->entry;
    int result = entry(given[0], given[1], given[2], given[3], given[4], given[5], given[6], given[7]);
    if (!strcmp(function->name, "nvmlErrorString")) return 0;
    if (!strcmp(function->name, "nvmlShutdown")) while (entry(0, 0, 0, 0, 0, 0, 0, 0) == 0) {}
    bool set = !strcmp(function->name, "nvmlEventSetCreate"), sample = !strcmp(function->name, "nvmlGpmSampleAlloc");
    if (result == 0 && (set || sample))
        keep(sample, *(void **)(uintptr_t)given[0], (int (*)(void *))dlsym(library, set ? "nvmlEventSetFree" : "nvmlGpmSampleFree"));
    return result;
}

static int turn_once(void *library, int64_t limit_ms, int (*init)(void)) {
    static bool down;
    const struct function *function = &functions[roll() % (unsigned)function_count];
    unsigned some = once_in(12) ? HUGE : once_in(4) ? 0 : 1 + roll() % 90;
    uint64_t given[ARGUMENTS] = {0};
    for (int index = 0; index < function->count; index++) given[index] = make(&function->arguments[index], index, some);
    if (describing) return tell(function, given), 0;
    if (down && once_in(8)) down = init() != 0;
    int64_t start = now_us();
    int result = invoke(library, function, given);
    int64_t took = (now_us() - start) / 1000;
    down |= !strcmp(function->name, "nvmlShutdown");
    /* An emulated node's processors need not be this machine's: sched_setaffinity refuses. */
    bool may_fail = result == 999 && strstr(function->name, "SetCpuAffinity");
    if (!may_fail && (result < 0 || result > 30)) fail(result == 999 ? "answered UNKNOWN" : "answered with no code of nvmlReturn_t");
    if (took > limit_ms) fprintf(stderr, "took %" PRId64 " ms\n", took), exit(3);
    for (int index = 0; index < function->count; index++)
        if (given[index] && strchr("IRACV", function->arguments[index].kind)) {
            uint8_t *at = (uint8_t *)(uintptr_t)given[index];
            if (at - CANARY >= areas[index] && is_touched(at)) fail("wrote before the start of an argument");
        }
    return result;
}

static void prepare(void *library) {
    int (*find)(unsigned, void **) = (int (*)(unsigned, void **))dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
    int (*create)(void **) = (int (*)(void **))dlsym(library, "nvmlEventSetCreate");
    int (*alloc)(void **) = (int (*)(void **))dlsym(library, "nvmlGpmSampleAlloc");
    void *found = NULL;
    if (find(0, &found) == 0) first_handle = found;
    for (int index = 0; index < 4; index++) create(&kept[0][index]), alloc(&kept[1][index]);
}

int main(int count, char **given) {
    if (count < 8) return 2;
    void *library = dlopen(given[1], RTLD_NOW);
    if (!library) fail(dlerror());
    read_plan(given[2], library);
    uint64_t seed = strtoull(given[4], NULL, 0), first = strtoull(given[5], NULL, 0), turns = strtoull(given[6], NULL, 0);
    describing = count > 8 && !strcmp(given[8], "describe");
    int shared = open(given[3], O_RDWR | O_CREAT, 0600);
    if (shared < 0 || ftruncate(shared, 4096)) fail("no progress file");
    volatile uint64_t *progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    for (int index = 0; index < 2 * ARGUMENTS; index++) areas[index] = make_area();
    int (*init)(void) = (int (*)(void))dlsym(library, "nvmlInit_v2");
    if (init() == 0) prepare(library);
    printf("ready\n"), fflush(stdout);
    if (getenv("NVML_FUZZ_WAIT")) getchar(); /* the node dies meanwhile */
    uint64_t results[1000] = {0}, ok[FUNCTIONS] = {0};
    for (uint64_t turn = first; turn < first + turns; turn++) {
        if (!describing) *progress = turn;
        dice = seed * 0x2545f4914f6cdd1d ^ turn * 0xd1342543de82ef95;
        int result = turn_once(library, strtoll(given[7], NULL, 0), init);
        results[result]++;
        dice = seed * 0x2545f4914f6cdd1d ^ turn * 0xd1342543de82ef95; /* which function it was */
        if (result == 0) ok[roll() % (unsigned)function_count]++;
    }
    for (int code = 0; code < 1000; code++)
        if (results[code]) printf("result %d %" PRIu64 "\n", code, results[code]);
    for (int index = 0; index < function_count; index++)
        if (ok[index]) printf("succeeded %s %" PRIu64 "\n", functions[index].name, ok[index]);
    return 0;
}
