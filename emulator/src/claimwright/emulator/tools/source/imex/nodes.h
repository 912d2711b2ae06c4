/* The nodes file: one address or host name a line; and how names become addresses. */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "wire.h"

enum { MOST_NAME = 256, RESOLVE_SECONDS = 10 };

struct address {
    struct sockaddr_storage place;
    socklen_t length; /* 0: not known */
};

struct node_list {
    int count;
    char names[MOST_NODES][MOST_NAME];
    uint64_t map;
};

static bool parse_address(const char *text, struct address *out) {
    struct sockaddr_in *four = (struct sockaddr_in *)&out->place;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&out->place;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        out->length = sizeof *four;
    } else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        out->length = sizeof *six;
    }
    return out->length != 0;
}

static void set_port(struct address *address, long port) {
    if (address->place.ss_family == AF_INET) ((struct sockaddr_in *)&address->place)->sin_port = htons((uint16_t)port);
    else ((struct sockaddr_in6 *)&address->place)->sin6_port = htons((uint16_t)port);
}

static bool same_host(const struct address *one, const struct sockaddr *other) {
    if (!one->length || !other || one->place.ss_family != other->sa_family) return false;
    if (other->sa_family == AF_INET)
        return !memcmp(&((const struct sockaddr_in *)&one->place)->sin_addr,
                       &((const struct sockaddr_in *)other)->sin_addr, sizeof(struct in_addr));
    return other->sa_family == AF_INET6 &&
           !memcmp(&((const struct sockaddr_in6 *)&one->place)->sin6_addr,
                   &((const struct sockaddr_in6 *)other)->sin6_addr, sizeof(struct in6_addr));
}

/* Read the list; false when it cannot be read, is empty or too long: the old one stays in force. */
static bool read_nodes(const char *path, struct node_list *out) {
    FILE *file = fopen(path, "re");
    if (!file) {
        note(ERROR, "cannot read the nodes file %s: %s", path, strerror(errno));
        return false;
    }
    struct node_list found = {.map = 0xcbf29ce484222325u};
    char line[1024];
    bool good = true;
    while (good && fgets(line, sizeof line, file)) {
        char *name = trimmed(line);
        if (!*name || *name == '#') continue;
        good = found.count < MOST_NODES && strlen(name) < MOST_NAME && !strpbrk(name, " \t\"\\");
        if (!good) note(ERROR, "%s: %.64s: expected at most %d addresses or names, one a line", path, name, MOST_NODES);
        else copy_text(found.names[found.count++], MOST_NAME, name), found.map = digest(found.map, name);
    }
    fclose(file);
    if (good && !found.count) note(ERROR, "%s names no node", path);
    if (good && found.count) *out = found;
    return good && found.count;
}

/* Look a name up as nsswitch's `files` does: containers map their peers in /etc/hosts and change it while we run. */
static bool find_in_hosts(const char *name, struct address *out) {
    FILE *file = fopen("/etc/hosts", "re");
    char line[1024];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "#")] = 0;
        char *rest = line, *address = strsep(&rest, " \t\r\n");
        for (char *word; !found && (word = strsep(&rest, " \t\r\n"));)
            found = *word && !strcasecmp(word, name) && parse_address(address, out);
    }
    if (file) fclose(file);
    return found;
}

static bool resolve(const char *name, long port, struct address *out) {
    bool found = parse_address(name, out) || find_in_hosts(name, out);
    if (found) set_port(out, port);
    return found;
}

/* Whether an address is one of this machine's interfaces; `loopback` alone stands for all of 127/8 nowhere. */
static bool is_own(const struct address *address) {
    struct ifaddrs *interfaces;
    bool own = false;
    if (getifaddrs(&interfaces)) return false;
    for (struct ifaddrs *each = interfaces; each && !own; each = each->ifa_next) own = same_host(address, each->ifa_addr);
    freeifaddrs(interfaces);
    return own;
}

/* Names that only DNS knows are asked for in a child: a resolver may block for seconds. */
struct answer {
    int node;
    struct address address;
};

static struct {
    pid_t child;
    int pipe;
    int64_t again_at, kill_at;
} resolver = {.pipe = -1};

static void ask_dns(const struct node_list *nodes, const bool *wanted, long port) {
    int ends[2];
    if (resolver.child || pipe2(ends, O_CLOEXEC | O_NONBLOCK)) return;
    resolver.child = fork();
    if (!resolver.child) {
        setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
        for (int node = 0; node < nodes->count; node++) {
            struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
            if (!wanted[node] || getaddrinfo(nodes->names[node], NULL, &hints, &found)) continue;
            struct answer answer = {.node = node, .address.length = found->ai_addrlen};
            memcpy(&answer.address.place, found->ai_addr, found->ai_addrlen);
            set_port(&answer.address, port);
            if (write(ends[1], &answer, sizeof answer) < 0) _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    resolver.again_at = milliseconds() + RESOLVE_SECONDS * 1000;
    resolver.kill_at = milliseconds() + 2000 * (nodes->count + 1);
    if (resolver.child < 0) resolver.child = 0, close(ends[0]);
    else resolver.pipe = ends[0];
}

/* Take one answer; false when there is none now. Ends the child's bookkeeping when it is done or late. */
static bool dns_answer(struct answer *out) {
    if (resolver.pipe < 0) return false;
    ssize_t got = read(resolver.pipe, out, sizeof *out);
    if (got == (ssize_t)sizeof *out) return true;
    if (got < 0 && errno == EAGAIN && milliseconds() < resolver.kill_at) return false;
    kill(resolver.child, SIGKILL);
    waitpid(resolver.child, NULL, 0);
    close(resolver.pipe);
    resolver.child = 0;
    resolver.pipe = -1;
    return false;
}

/* Drop a question that is under way: its answers count by a list that is no longer in force. */
static void forget_dns(void) {
    struct answer stale;
    resolver.kill_at = resolver.again_at = 0;
    while (dns_answer(&stale)) {}
}
