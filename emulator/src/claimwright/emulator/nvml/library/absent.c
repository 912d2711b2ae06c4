/* What no emulated node has, whatever its boards.
 *
 * Units are the chassis of S-class systems, which none of our nodes is: there are none, so no index and no handle is
 * valid. */

FIXED(nvmlUnitGetHandleByIndex)(unsigned index, void **unit) {
    (void)index;
    ENTER();
    NEED(unit);
    return INVALID_ARGUMENT;
}

static int no_unit(const void *unit) {
    (void)unit;
    ENTER();
    return INVALID_ARGUMENT;
}

FIXED(nvmlUnitGetUnitInfo)(void *unit, void *info) { return (void)info, no_unit(unit); }
FIXED(nvmlUnitGetLedState)(void *unit, void *state) { return (void)state, no_unit(unit); }
FIXED(nvmlUnitGetPsuInfo)(void *unit, void *psu) { return (void)psu, no_unit(unit); }
FIXED(nvmlUnitGetTemperature)(void *unit, unsigned type, void *celsius) { return (void)type, (void)celsius, no_unit(unit); }
FIXED(nvmlUnitGetFanSpeedInfo)(void *unit, void *fans) { return (void)fans, no_unit(unit); }
FIXED(nvmlUnitGetDevices)(void *unit, void *count, void *found) { return (void)count, (void)found, no_unit(unit); }
FIXED(nvmlUnitSetLedState)(void *unit, unsigned color) { return (void)color, no_unit(unit); }

/* No GPU is excluded (module parameter NVreg_ExcludedGpus), so no index is one. */
FIXED(nvmlGetExcludedDeviceInfoByIndex)(unsigned index, void *info) {
    (void)index;
    ENTER();
    NEED(info);
    return INVALID_ARGUMENT;
}

/* Driver models are a choice that Windows has. */
static int no_driver_model(void *device, const void *current, const void *pending) {
    OPEN(device, page);
    (void)page;
    NEED(current && pending);
    return NOT_SUPPORTED;
}

FIXED(nvmlDeviceGetDriverModel)(void *device, void *current, void *pending) { return no_driver_model(device, current, pending); }
FIXED(nvmlDeviceGetDriverModel_v2)(void *device, void *current, void *pending) { return no_driver_model(device, current, pending); }
