/* The configuration file, `KEY=value` lines as nvidia-imex reads them; a relative path counts from the driver root. */
#pragma once

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "text.h"

#define PATHS 4096

enum quorum { QUORUM_NONE, QUORUM_RECOVERY, QUORUM_FULL };

struct settings {
    char root[PATHS]; /* the driver root this program lies in; "" when it is / */
    char file[PATHS];
    char nodes_file[PATHS];
    char log_file[PATHS];
    char persist_file[PATHS];
    char bind_ip[64];
    char command_ip[64];
    char command_socket[PATHS];
    long server_port, command_port, command_enabled, daemonize, log_level, log_append;
    long grace_seconds, keepalive_ms, peer_timeout_ms, retry_ms, signal_ms, connected_import;
    enum quorum quorum;
    bool nogpu;
};

/* /proc/self/exe says where this program lies; without /proc (chroot) it lies in the root that it sees. */
static void find_root(struct settings *settings) {
    char self[PATHS] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *folder = length > 0 ? strstr(self, "/usr/bin/nvidia-imex") : NULL;
    if (folder && !strchr(folder + sizeof "/usr/bin/" - 1, '/')) *folder = 0;
    else self[0] = 0;
    copy_text(settings->root, sizeof settings->root, self);
}

static void in_root(const struct settings *settings, char *to, const char *path) {
    if ((size_t)snprintf(to, PATHS, "%s%s", settings->root, path) >= PATHS) DIE("%s is too long a path", path);
}

static void set_defaults(struct settings *settings) {
    *settings = (struct settings){
        .server_port = 50000, .command_port = 50005, .command_enabled = 0, .daemonize = 1, .log_level = 4,
        .log_append = 1, .grace_seconds = -1, .keepalive_ms = 1000, .peer_timeout_ms = 5000, .retry_ms = 2000,
        .signal_ms = 5000, .quorum = QUORUM_RECOVERY};
    find_root(settings);
    in_root(settings, settings->file, "/etc/nvidia-imex/config.cfg");
    in_root(settings, settings->nodes_file, "/etc/nvidia-imex/nodes_config.cfg");
    in_root(settings, settings->log_file, "/var/log/nvidia-imex.log");
    in_root(settings, settings->persist_file, "/var/run/nvidia-imex/persist.dat");
}

/* What the real daemon knows and this one has no use for: accepted in silence. */
static bool is_without_use(const char *key) {
    static const char *const keys[] = {
        "STATS_FILE_NAME", "LOG_FILE_MAX_SIZE", "LOG_MAX_ROTATE_COUNT", "LOG_USE_SYSLOG", "NETWORK_INTERFACE",
        "IMEX_AUTH_ENCRYPTION_MODE", "IMEX_AUTH_SOURCE", "IMEX_SERVER_KEY", "IMEX_SERVER_CERT",
        "IMEX_SERVER_CERT_AUTH", "IMEX_CLIENT_KEY", "IMEX_CLIENT_CERT", "IMEX_CLIENT_CERT_AUTH",
        "IMEX_SECURITY_TARGET_OVERRIDE", "IMEX_GSS_SERVICE_NAME", "IMEX_GSS_TIMEOUT_SEC",
        "IMEX_GSS_RETRY_INTERVAL_SEC", "IMEX_GSS_SEC_CONTEXT_LIFETIME_SEC", "IMEX_GSS_SHUTDOWN_ON_FAILURE"};
    for (size_t at = 0; at < sizeof keys / sizeof *keys; at++)
        if (!strcmp(keys[at], key)) return true;
    return false;
}

static long number_of(const char *key, const char *value, long least, long most) {
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (errno || end == value || *end || number < least || number > most)
        DIE("%s=%s: expected a number from %ld to %ld", key, value, least, most);
    return number;
}

static enum quorum quorum_of(const char *value) {
    if (!strcmp(value, "NONE")) return QUORUM_NONE;
    if (!strcmp(value, "RECOVERY")) return QUORUM_RECOVERY;
    if (!strcmp(value, "FULL")) return QUORUM_FULL;
    DIE("IMEX_WAIT_FOR_QUORUM=%s: expected NONE, RECOVERY or FULL", value);
}

static bool set_text(struct settings *settings, const char *key, const char *value) {
    struct {
        const char *key;
        char *to;
        size_t room;
    } texts[] = {
        {"IMEX_NODE_CONFIG_FILE", settings->nodes_file, PATHS}, {"LOG_FILE_NAME", settings->log_file, PATHS},
        {"BIND_INTERFACE_IP", settings->bind_ip, sizeof settings->bind_ip},
        {"IMEX_CMD_BIND_INTERFACE_IP", settings->command_ip, sizeof settings->command_ip},
        {"IMEX_CMD_UNIX_DOMAIN_PATH", settings->command_socket, PATHS},
        {"EMULATOR_PERSIST_FILE", settings->persist_file, PATHS}};
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++) {
        if (strcmp(texts[at].key, key)) continue;
        if (strlen(value) >= texts[at].room) DIE("%s: %zu bytes are too many", key, strlen(value));
        bool inside = texts[at].room == PATHS && *value && *value != '/';
        snprintf(texts[at].to, texts[at].room, "%s%s%s", inside ? settings->root : "", inside ? "/" : "", value);
        return true;
    }
    return false;
}

static bool set_number(struct settings *settings, const char *key, const char *value) {
    struct {
        const char *key;
        long *to, least, most;
    } numbers[] = {
        {"SERVER_PORT", &settings->server_port, 1, 65535}, {"IMEX_CMD_PORT", &settings->command_port, 0, 65535},
        {"IMEX_CMD_ENABLED", &settings->command_enabled, 0, 1}, {"DAEMONIZE", &settings->daemonize, 0, 1},
        {"LOG_LEVEL", &settings->log_level, 0, 4}, {"LOG_APPEND_TO_LOG", &settings->log_append, 0, 1},
        {"IMEX_NODE_DISCONNECTED_GRACE_TIME", &settings->grace_seconds, -1, INT_MAX},
        {"EMULATOR_KEEPALIVE_MS", &settings->keepalive_ms, 10, 600000},
        {"EMULATOR_PEER_TIMEOUT_MS", &settings->peer_timeout_ms, 10, 600000},
        {"EMULATOR_RETRY_MS", &settings->retry_ms, 10, 600000},
        {"EMULATOR_SIGNAL_MS", &settings->signal_ms, 0, 600000},
        {"EMULATOR_CONNECTED_IS_IMPORTING", &settings->connected_import, 0, 1}};
    for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) {
        if (strcmp(numbers[at].key, key)) continue;
        if (*value) *numbers[at].to = number_of(key, value, numbers[at].least, numbers[at].most);
        return true;
    }
    return false;
}

static void set(struct settings *settings, const char *key, const char *value) {
    if (set_text(settings, key, value) || set_number(settings, key, value)) return;
    if (!strcmp(key, "IMEX_WAIT_FOR_QUORUM")) {
        if (*value) settings->quorum = quorum_of(value);
    } else if (!strcmp(key, "IMEX_ENABLE_AUTH_ENCRYPTION")) {
        if (!strcmp(value, "1")) DIE("IMEX_ENABLE_AUTH_ENCRYPTION=1: an emulated node has no certificates; set it to 0");
    } else if (!is_without_use(key)) {
        note(WARNING, "%s: unknown key %s is ignored", settings->file, key);
    }
}

static void read_settings(struct settings *settings) {
    FILE *file = fopen(settings->file, "re");
    if (!file) DIE("cannot read the configuration %s: %s", settings->file, strerror(errno));
    char line[PATHS + 128];
    while (fgets(line, sizeof line, file)) {
        char *key = trimmed(line), *value = strchr(key, '=');
        if (!*key || *key == '#') continue;
        if (!value) {
            note(WARNING, "%s: %s is no KEY=value and is ignored", settings->file, key);
            continue;
        }
        *value++ = 0;
        set(settings, trimmed(key), trimmed(value));
    }
    fclose(file);
    if (settings->peer_timeout_ms < settings->keepalive_ms) settings->peer_timeout_ms = settings->keepalive_ms;
}
