/* nvidia-smi nvlink: state, capabilities, error counters and far ends of each link. */

typedef void (*link_step)(void *gpu, unsigned link);

static void put_speed(void *gpu, unsigned link) {
    struct value speed = {0};
    unsigned active = 0;
    CALL("nvmlDeviceGetNvLinkState", (void *, unsigned, unsigned *), gpu, link, &active);
    int result = read_field(gpu, "", SCOPED(164, (int)link), &speed);
    if (!active || result)
        printf("\t Link %u: <inactive>\n", link);
    else
        printf("\t Link %u: %u.%03u GB/s\n", link, (unsigned)speed.number / 1000, (unsigned)speed.number % 1000);
}

static void put_capabilities(void *gpu, unsigned link) {
    static const char *const names[] = {"P2P is supported", "Access to system memory supported", "P2P atomics supported",
                                        "System memory atomics supported", "SLI is supported", "Link is supported"};
    for (unsigned at = 0; at < COUNT_OF(names); at++) {
        unsigned has = 0;
        int result = CALL("nvmlDeviceGetNvLinkCapability", (void *, unsigned, unsigned, unsigned *), gpu, link, at, &has);
        printf("\t Link %u, %s: %s\n", link, names[at], result ? absence(result) : has ? "true" : "false");
    }
}

static void put_errors(void *gpu, unsigned link) {
    static const struct { const char *name; unsigned counter; } errors[] = {
        {"Replay Errors", 0}, {"Recovery Errors", 1}, {"CRC FLIT Errors", 2}, {"CRC DATA Errors", 3}};
    for (unsigned at = 0; at < COUNT_OF(errors); at++) {
        uint64_t count = 0;
        int result = CALL("nvmlDeviceGetNvLinkErrorCounter", (void *, unsigned, unsigned, uint64_t *), gpu, link,
                          errors[at].counter, &count);
        if (result)
            printf("\t Link %u: %s: %s\n", link, errors[at].name, absence(result));
        else
            printf("\t Link %u: %s: %" PRIu64 "\n", link, errors[at].name, count);
    }
}

static void put_far_end(void *gpu, unsigned link) {
    struct pci_info remote = {0};
    struct value far_link = {0};
    int result = CALL("nvmlDeviceGetNvLinkRemotePciInfo_v2", (void *, unsigned, void *), gpu, link, &remote);
    int named = read_field(gpu, "", SCOPED(146, (int)link), &far_link);
    if (result)
        printf("\t Link %u: %s\n", link, absence(result));
    else if (named)
        printf("\t Link %u: Remote Device %s\n", link, remote.bus_id);
    else
        printf("\t Link %u: Remote Device %s: Link %u\n", link, remote.bus_id, (unsigned)far_link.number);
}

static int show_links(link_step step, const char *only) {
    unsigned wanted = UINT_MAX;
    if (only && !read_setting(only, 0, 35, &wanted)) return refuse("nvlink -l", only, "the number of a link");
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned actives, count = links_of(chosen[at], &actives);
        int result = list_gpu(chosen[at]);
        if (result) return result;
        if (only && wanted >= count) {
            printf("\t Link %u: this GPU has %u links\n", wanted, count);
            return INVALID_ARGUMENT;
        }
        if (!count) puts("\t Unable to retrieve NVLink information as all links are inActive");
        for (unsigned link = 0; link < count; link++)
            if (!only || link == wanted) step(chosen[at], link);
    }
    return OK;
}

static int reset_link_counters(void) {
    for (unsigned at = 0; at < chosen_count; at++) {
        unsigned actives, count = links_of(chosen[at], &actives);
        for (unsigned link = 0; link < count; link++) {
            int result = CALL("nvmlDeviceResetNvLinkErrorCounters", (void *, unsigned), chosen[at], link);
            if (result) return fail("NVLink error counters", chosen[at], result);
        }
        printf("Reset NVLink error counters of GPU %s.\n", bus_id_of(chosen[at]));
    }
    puts("All done.");
    return OK;
}
