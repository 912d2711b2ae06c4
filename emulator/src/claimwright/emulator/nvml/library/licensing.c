/* Licensable features in the records of older versions: each version's feature grew at its end. nvml.h declares all of
 * them with the newest record, but programs of their time give shorter ones. */

enum { LICENSE_TEXT = 128, LICENSABLE_FEATURES = 3 };

struct licensable_feature {
    uint32_t code, state;
    char info[LICENSE_TEXT], product[LICENSE_TEXT];
    uint32_t enabled;
    struct { uint32_t year; uint16_t month, day, hour, minute, second; uint8_t status; } expiry;
};

struct licensable_features {
    int32_t supported;
    uint32_t count;
    struct licensable_feature features[LICENSABLE_FEATURES];
};
MATCHES(struct licensable_features, nvmlGridLicensableFeatures_t);

static int give_features(void *device, void *out, size_t feature_bytes) {
    struct licensable_features now = {0};
    ENTER();
    NEED(out);
    int result = nvmlDeviceGetGridLicensableFeatures_v4(device, &now);
    if (result != SUCCESS) return result;
    size_t head = offsetof(struct licensable_features, features);
    memcpy(out, &now, head);
    for (size_t index = 0; index < LICENSABLE_FEATURES; index++)
        memcpy((uint8_t *)out + head + index * feature_bytes, &now.features[index], feature_bytes);
    return SUCCESS;
}

API(nvmlDeviceGetGridLicensableFeatures)(void *device, void *out) {
    return give_features(device, out, offsetof(struct licensable_feature, product));
}
API(nvmlDeviceGetGridLicensableFeatures_v2)(void *device, void *out) {
    return give_features(device, out, offsetof(struct licensable_feature, enabled));
}
API(nvmlDeviceGetGridLicensableFeatures_v3)(void *device, void *out) {
    return give_features(device, out, offsetof(struct licensable_feature, expiry));
}
