/* nvidia-smi drain: takes a GPU out of service, and finds it again. It names GPUs by PCI address, also those that are gone. */

static bool read_address(const char *text, struct pci_info *out) {
    unsigned function = 0;
    int used = 0;
    memset(out, 0, sizeof *out);
    if (!text || sscanf(text, "%x:%x:%x.%x%n", &out->domain, &out->bus, &out->device, &function, &used) < 3) return false;
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
    snprintf(out->legacy_bus_id, sizeof out->legacy_bus_id, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus, out->device);
    return true;
}

static int report_drain(const char *what, const struct pci_info *pci, int result) {
    if (result)
        printf("Failed to %s GPU %s: %s\n", what, pci->bus_id, error_text(result));
    return result;
}

static int drain(const char *address, const char *mode, bool query, bool remove) {
    struct pci_info pci;
    unsigned state = 0;
    if (!read_address(address, &pci)) return refuse("drain -p", address, "a PCI address such as 0000:53:00.0");
    if (mode && !read_switch(mode, &state)) return refuse("drain -m", mode, "0 (in service) or 1 (draining)");
    if (mode) {
        int result = CALL("nvmlDeviceModifyDrainState", (void *, unsigned), &pci, state);
        if (!result) printf("Successfully set GPU %s drain state to: %s.\n", pci.bus_id, state ? "draining" : "not draining");
        return report_drain("set the drain state of", &pci, result);
    }
    if (remove) {
        int result = CALL("nvmlDeviceRemoveGpu_v2", (void *, unsigned, unsigned), &pci, 0u, 0u);
        if (!result) printf("Successfully removed GPU %s.\n", pci.bus_id);
        return report_drain("remove", &pci, result);
    }
    if (!query) return refuse("drain", "", "one of -m 0|1, -q or -r beside -p");
    int result = CALL("nvmlDeviceQueryDrainState", (void *, unsigned *), &pci, &state);
    if (!result) printf("The current drain state of GPU %s is: %s.\n", pci.bus_id, state ? "draining" : "not draining");
    return report_drain("query the drain state of", &pci, result);
}
