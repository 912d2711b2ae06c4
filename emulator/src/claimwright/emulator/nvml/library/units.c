/* Units are the chassis of S-class systems, which none of our nodes is: there are none, so no index and no handle is
 * valid. */

API(nvmlUnitGetHandleByIndex)(unsigned index, void **unit) {
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

API(nvmlUnitGetUnitInfo)(void *unit, void *info) { return (void)info, no_unit(unit); }
API(nvmlUnitGetLedState)(void *unit, void *state) { return (void)state, no_unit(unit); }
API(nvmlUnitGetPsuInfo)(void *unit, void *psu) { return (void)psu, no_unit(unit); }
API(nvmlUnitGetTemperature)(void *unit, unsigned type, void *celsius) { return (void)type, (void)celsius, no_unit(unit); }
API(nvmlUnitGetFanSpeedInfo)(void *unit, void *fans) { return (void)fans, no_unit(unit); }
API(nvmlUnitGetDevices)(void *unit, void *count, void *found) { return (void)count, (void)found, no_unit(unit); }
API(nvmlUnitSetLedState)(void *unit, unsigned color) { return (void)color, no_unit(unit); }

/* No GPU is excluded (module parameter NVreg_ExcludedGpus), so no index is one. */
API(nvmlGetExcludedDeviceInfoByIndex)(unsigned index, void *info) {
    (void)index;
    ENTER();
    NEED(info);
    return INVALID_ARGUMENT;
}
