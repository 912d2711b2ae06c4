/* nvidia-cdi-hook of an emulated node: the createContainer hooks that CDI specs of NVIDIA name. Static, since a runtime
 * runs it from whatever file system the node has. It reads the container's state (OCI runtime specification) on stdin,
 * and touches only what lies below that container's root file system.
 *
 * create-symlinks really makes the links, chmod really changes modes. update-ldcache writes the folders into
 * /etc/ld.so.conf.d and runs no ldconfig: there may be none, and what is injected sits in standard folders anyway.
 * enable-cuda-compat and disable-device-node-modification have nothing to do without a kernel driver, and say so. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_VALUES = 256, MOST_BYTES = 8 << 20 };

static const char *command = "";

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list given;
    va_start(given, format);
    fprintf(stderr, "nvidia-cdi-hook %s: ", command);
    vfprintf(stderr, format, given);
    fputc('\n', stderr);
    va_end(given);
    exit(1);
}

static char *read_all(int from, const char *name) {
    size_t used = 0, room = 1 << 16;
    char *text = malloc(room + 1);
    for (ssize_t got; text && (got = read(from, text + used, room - used)); used += (size_t)got) {
        if (got < 0) fail("cannot read %s: %s", name, strerror(errno));
        if (used + (size_t)got == room) text = room < MOST_BYTES ? realloc(text, (room *= 2) + 1) : NULL;
    }
    if (!text) fail("%s is larger than %d bytes", name, MOST_BYTES);
    text[used] = 0;
    return text;
}

/* A small reader of JSON: enough to step over values and find a member of an object. */
static const char *blank(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *after_string(const char *at) {
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

static const char *after_value(const char *at) {
    int depth = 0;
    do {
        at = blank(at);
        if (*at == '"') {
            at = after_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++, at++;
        } else if (*at == '}' || *at == ']') {
            depth--, at++;
        } else if (*at == ',' || *at == ':') {
            at++;
        } else {
            size_t scalar = strcspn(at, ",:{}[] \t\r\n\"");
            if (!scalar) return at;
            at += scalar;
        }
    } while (depth > 0 && *at);
    return at;
}

static const char *find_member(const char *object, const char *name) {
    const char *at = blank(object);
    size_t length = strlen(name);
    if (*at != '{') return NULL;
    for (at = blank(at + 1); *at == '"';) {
        bool wanted = !strncmp(at + 1, name, length) && at[length + 1] == '"';
        at = blank(after_string(at));
        if (*at != ':') return NULL;
        at = blank(at + 1);
        if (wanted) return at;
        at = blank(after_value(at));
        if (*at == ',') at = blank(at + 1);
    }
    return NULL;
}

static bool read_string(const char *at, char *out, size_t size) {
    size_t used = 0;
    if (!at || *at != '"') return false;
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\' && *++at != '"' && *at != '\\' && *at != '/') return false; /* no other escape in a path */
        if (used + 1 >= size) return false;
        out[used++] = *at;
    }
    out[used] = 0;
    return *at == '"';
}

/* The root file system of the container whose state is on stdin. */
static int open_root(void) {
    char bundle[PATH_MAX], config[PATH_MAX + 16], root[PATH_MAX], path[2 * PATH_MAX];
    if (!read_string(find_member(read_all(0, "the container's state"), "bundle"), bundle, sizeof bundle))
        fail("the state on standard input has no \"bundle\"; it expects an OCI container state");
    snprintf(config, sizeof config, "%s/config.json", bundle);
    int file = open(config, O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("cannot open %s: %s", config, strerror(errno));
    const char *about = find_member(read_all(file, config), "root");
    if (!about || !read_string(find_member(about, "path"), root, sizeof root)) fail("%s names no root.path", config);
    snprintf(path, sizeof path, *root == '/' ? "%.0s%s" : "%s/%s", bundle, root);
    int opened = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) fail("cannot open the root file system %s: %s", path, strerror(errno));
    return opened;
}

/* Opens below the root whatever links the image holds: the kernel resolves them as if the root were `/`. */
static int open_inside(int root, const char *path, int flags) {
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT};
    return (int)syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof how);
}

/* The folder of a path, made where it is missing, and the last component of the path. */
static int open_folder_of(int root, const char *path, const char **name) {
    char prefix[PATH_MAX];
    int folder = open_inside(root, "/", O_PATH | O_DIRECTORY);
    snprintf(prefix, sizeof prefix, "%s", path);
    for (char *at = prefix; (at = strchr(at + 1, '/'));) {
        *at = 0;
        int next = open_inside(root, prefix, O_PATH | O_DIRECTORY);
        const char *last = strrchr(prefix, '/') ? strrchr(prefix, '/') + 1 : prefix;
        if (next < 0 && errno == ENOENT && !mkdirat(folder, last, 0755))
            next = open_inside(root, prefix, O_PATH | O_DIRECTORY);
        if (next < 0) fail("cannot enter %s: %s", prefix, strerror(errno));
        close(folder);
        folder = next;
        *at = '/';
    }
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    return folder;
}

static bool points_to(int folder, const char *name, const char *target) {
    char present[PATH_MAX];
    ssize_t length = readlinkat(folder, name, present, sizeof present - 1);
    if (length < 0) return false;
    present[length] = 0;
    return !strcmp(present, target);
}

static void create_link(int root, const char *given) {
    const char *split = strstr(given, "::"), *name;
    char target[PATH_MAX];
    if (!split || split == given || !split[2]) fail("--link %s: expected target::path", given);
    snprintf(target, sizeof target, "%.*s", (int)(split - given), given);
    int folder = open_folder_of(root, split + 2, &name);
    if (points_to(folder, name, target)) {
        close(folder);
        return;
    }
    if (unlinkat(folder, name, 0) && errno != ENOENT) fail("cannot replace %s: %s", split + 2, strerror(errno));
    if (symlinkat(target, folder, name)) fail("cannot link %s: %s", split + 2, strerror(errno));
    close(folder);
}

static void write_ldcache(int root, const char *const *folders, int count) {
    const char *name;
    int folder = open_folder_of(root, "/etc/ld.so.conf.d/00-nvcr.conf", &name);
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0) fail("cannot write /etc/ld.so.conf.d/%s: %s", name, strerror(errno));
    for (int at = 0; at < count; at++) dprintf(file, "%s\n", folders[at]);
    close(file);
    close(folder);
    fprintf(stderr, "nvidia-cdi-hook update-ldcache: wrote /etc/ld.so.conf.d/%s; no ldconfig is run\n", name);
}

static void change_mode(int root, const char *path, const char *mode) {
    char *end;
    unsigned long bits = strtoul(mode, &end, 8);
    char link[64];
    if (!*mode || *end || bits > 07777) fail("--mode %s: expected an octal mode", mode);
    int opened = open_inside(root, path, O_PATH);
    if (opened < 0) fail("cannot open %s: %s", path, strerror(errno));
    snprintf(link, sizeof link, "/proc/self/fd/%d", opened);
    if (chmod(link, (mode_t)bits)) fail("cannot change %s: %s", path, strerror(errno));
    close(opened);
}

/* Collects the values of one option, given as `--name value` or `--name=value`. */
static int values_of(const char *name, int count, char **arguments, const char **out) {
    int found = 0;
    size_t length = strlen(name);
    for (int at = 2; at < count && found < MOST_VALUES; at++) {
        if (strncmp(arguments[at], name, length)) continue;
        if (arguments[at][length] == '=')
            out[found++] = arguments[at] + length + 1;
        else if (!arguments[at][length] && at + 1 < count)
            out[found++] = arguments[++at];
    }
    return found;
}

int main(int count, char **arguments) {
    const char *values[MOST_VALUES], *modes[MOST_VALUES];
    command = count > 1 ? arguments[1] : "";
    if (!strcmp(command, "hook")) arguments++, count--, command = count > 1 ? arguments[1] : ""; /* nvidia-ctk's way */
    if (!strcmp(command, "create-symlinks")) {
        int links = values_of("--link", count, arguments, values), root = open_root();
        for (int at = 0; at < links; at++) create_link(root, values[at]);
    } else if (!strcmp(command, "update-ldcache")) {
        int folders = values_of("--folder", count, arguments, values);
        write_ldcache(open_root(), values, folders);
    } else if (!strcmp(command, "chmod")) {
        int paths = values_of("--path", count, arguments, values);
        if (values_of("--mode", count, arguments, modes) != 1) fail("expected one --mode");
        for (int at = 0, root = open_root(); at < paths; at++) change_mode(root, values[at], modes[0]);
    } else if (!strcmp(command, "enable-cuda-compat") || !strcmp(command, "disable-device-node-modification")) {
        fprintf(stderr, "nvidia-cdi-hook %s: nothing to do on an emulated node\n", command);
    } else {
        fail("unknown hook; expected create-symlinks, update-ldcache, chmod, enable-cuda-compat or "
             "disable-device-node-modification");
    }
    return 0;
}
