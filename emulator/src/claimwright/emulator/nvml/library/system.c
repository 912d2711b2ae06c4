/* Questions about the node rather than about one GPU. */

API(nvmlSystemGetDriverVersion)(char *out, unsigned length) {
    ENTER();
    return give_text(header()->driver_version, sizeof header()->driver_version, out, length);
}

API(nvmlSystemGetNVMLVersion)(char *out, unsigned length) {
    ENTER();
    return give_text(header()->nvml_version, sizeof header()->nvml_version, out, length);
}

API(nvmlSystemGetCudaDriverVersion)(int *out) {
    ENTER();
    NEED(out);
    *out = header()->cuda_version;
    return finish();
}
ALIAS(nvmlSystemGetCudaDriverVersion_v2, nvmlSystemGetCudaDriverVersion);

API(nvmlSystemGetDriverBranch)(struct driver_branch *out, unsigned length) {
    ENTER();
    NEED(out);
    NEED_VERSION(out->version, VERSION_nvmlSystemDriverBranchInfo_v1_t);
    unsigned room = length < sizeof out->branch ? length : sizeof out->branch;
    return give_text(header()->branch, sizeof header()->branch, out->branch, room);
}

API(nvmlSystemGetProcessName)(unsigned pid, char *out, unsigned length) {
    char path[32], text[1024];
    ENTER();
    NEED(out && length);
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno == EACCES ? NO_PERMISSION : NOT_FOUND;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    if (got <= 0) return NOT_FOUND;
    text[got] = 0;
    /* The header says: a longer name is cut, not refused. */
    snprintf(out, length, "%s", text);
    return SUCCESS;
}

FIXED(nvmlUnitGetCount)(uint32_t *out) {
    ENTER();
    NEED(out);
    *out = 0; /* S-class systems only */
    return SUCCESS;
}

FIXED(nvmlGetExcludedDeviceCount)(uint32_t *out) {
    ENTER();
    NEED(out);
    *out = 0;
    return SUCCESS;
}

FIXED(nvmlSystemGetHicVersion)(uint32_t *count, void *entries) {
    (void)entries;
    ENTER();
    NEED(count);
    *count = 0;
    return SUCCESS;
}

FIXED(nvmlSystemGetConfComputeState)(uint32_t out[3]) {
    ENTER();
    NEED(out);
    memset(out, 0, SIZE_nvmlConfComputeSystemState_t);
    return SUCCESS;
}

FIXED(nvmlSystemGetConfComputeCapabilities)(uint32_t out[2]) {
    ENTER();
    NEED(out);
    memset(out, 0, SIZE_nvmlConfComputeSystemCaps_t);
    return SUCCESS;
}

FIXED(nvmlSystemGetConfComputeGpusReadyState)(uint32_t *out) {
    ENTER();
    NEED(out);
    *out = 0;
    return SUCCESS;
}

_Static_assert(SIZE_nvmlConfComputeSystemState_t == 3 * sizeof(uint32_t), "state");
_Static_assert(SIZE_nvmlConfComputeSystemCaps_t == 2 * sizeof(uint32_t), "caps");
