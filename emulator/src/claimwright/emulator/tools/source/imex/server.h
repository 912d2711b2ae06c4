/* What others connect to: peers that greet and ping, and the command service that nvidia-imex-ctl asks. */
#pragma once

#include "peers.h"

enum { COMMAND_MS = 2000 };

static int listen_at(const char *ip, long port) {
    struct address address;
    if (!parse_address(ip, &address)) DIE("%s is no IP address", ip);
    set_port(&address, port);
    int one = 1, made = socket(address.place.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (made < 0 || bind(made, (struct sockaddr *)&address.place, address.length) || listen(made, 128))
        DIE("cannot listen at %s port %ld: %s", ip, port, strerror(errno));
    return made;
}

/* Bound by its plain name in its folder: an address holds 108 bytes. A socket that nobody answers at is replaced. */
static int listen_unix(const char *path) {
    const char *name = strrchr(path, '/');
    int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), other = connect_unix(path);
    if (other >= 0) DIE("another daemon answers at %s", path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[PATHS];
    copy_text(folder, sizeof folder, path);
    folder[name - path] = 0;
    make_folders(path);
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", name + 1);
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool moved = !chdir(*folder ? folder : "/");
    if (moved) unlink(address.sun_path);
    if (!moved || bind(made, (struct sockaddr *)&address, sizeof address) || listen(made, 32))
        DIE("cannot listen at %s: %s", path, strerror(errno));
    chmod(address.sun_path, 0600);
    if (fchdir(before)) note(WARNING, "cannot return to the working directory");
    close(before);
    return made;
}

static void take_stream(int listener, struct inbound *slots, int count, int64_t deadline) {
    int stream = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (stream < 0) return;
    for (int at = 0; at < count; at++)
        if (slots[at].stream < 0) {
            slots[at] = (struct inbound){.stream = stream, .index = -1, .deadline = deadline};
            return;
        }
    close(stream); /* all taken: whoever it is tries again */
}

static void drop(struct inbound *from) {
    close(from->stream);
    from->stream = -1;
}

static void send_refusal(struct inbound *to, enum link verdict) {
    uint32_t said = verdict;
    send_frame(to->stream, REFUSED, &said, sizeof said);
    drop(to);
}

static void greet(struct inbound *from, const uint8_t *body, int64_t now) {
    struct identity other;
    take_identity(&other, body);
    enum link verdict = judge(&other);
    if (verdict == CONNECTED && other.index == (uint32_t)me.own) verdict = MAP_MISMATCH;
    if (verdict != CONNECTED) {
        send_refusal(from, verdict);
        return;
    }
    from->index = (int)other.index;
    if (!send_frame(from->stream, WELCOME, &me.identity, sizeof me.identity)) {
        drop(from);
        return;
    }
    struct peer *peer = &me.peers[other.index]; /* it lives: do not wait for our own next try */
    if (peer->phase == IDLE) peer->retry_at = now;
    else if (peer->phase == TALKING && peer->instance != other.instance) lose((int)other.index, now), peer->retry_at = now;
}

static void answer_ping(struct inbound *to) {
    struct pong pong = {.status = (uint8_t)me.status, .count = (uint8_t)me.nodes.count};
    for (int node = 0; node < me.nodes.count; node++) pong.links[node] = (uint8_t)links()[node];
    memcpy(pong.driver, me.identity.driver, sizeof pong.driver);
    memcpy(pong.host, me.identity.host, sizeof pong.host);
    if (!send_frame(to->stream, PONG, &pong, sizeof pong)) drop(to);
}

static void hear_inbound(struct inbound *from, enum kind kind, const uint8_t *body, size_t length, int64_t now) {
    if (kind == HELLO && from->index < 0 && length == sizeof(struct identity)) greet(from, body, now);
    else if (kind == PING && from->index >= 0) answer_ping(from);
    else if (kind == GOODBYE && from->index >= 0) {
        if (me.peers[from->index].phase != IDLE) hang_up(from->index, DISCONNECTED, now);
        drop(from);
    } else drop(from);
}

/* Two lost peers' time: a daemon that pings late is slow, one that does not is gone. */
static void read_inbound(struct inbound *from, int64_t now) {
    bool open = fill(from->stream, &from->inbox);
    from->deadline = from->index < 0 ? from->deadline : now + 2 * me.settings.peer_timeout_ms;
    while (from->stream >= 0) {
        enum kind kind;
        uint8_t body[MOST_BODY];
        size_t length;
        enum taken taken = take(&from->inbox, &kind, body, &length);
        if (taken == NOTHING) break;
        if (taken == TAKEN) hear_inbound(from, kind, body, length, now);
        else if (taken == OTHER_VERSION) send_refusal(from, VERSION_MISMATCH);
        else drop(from);
    }
    if (!open && from->stream >= 0) drop(from);
    else if (from->stream >= 0 && from->index >= 0) from->deadline = now + 2 * me.settings.peer_timeout_ms;
}

/* `status`: one word. `domain`: a line each for domain, self and nodes, which nvidia-imex-ctl makes a table of. */
static void tell(int stream, const char *request) {
    char text[MOST_NODES * (MOST_NAME + 64 + 32 + 32 + MOST_NODES * 4)];
    size_t used = 0;
    if (!strcmp(request, "status")) {
        used = (size_t)snprintf(text, sizeof text, "%s\n", status_names[me.status]);
    } else if (!strcmp(request, "domain")) {
        used = (size_t)snprintf(text, sizeof text, "domain %s %d %d\n", domain_state(me.told, me.nodes.count), me.own,
                                me.nodes.count);
        for (int node = 0; node < me.nodes.count; node++) {
            const struct told *told = &me.told[node];
            used += (size_t)snprintf(text + used, sizeof text - used, "node %s %s %s %s", me.nodes.names[node],
                                     status_names[told->status], *told->version ? told->version : "-",
                                     *told->host ? told->host : "-");
            for (int other = 0; other < me.nodes.count; other++)
                used += (size_t)snprintf(text + used, sizeof text - used, " %d", told->links[other]);
            used += (size_t)snprintf(text + used, sizeof text - used, "\n");
        }
    } else {
        used = (size_t)snprintf(text, sizeof text, "error unknown request\n");
    }
    if (send(stream, text, used, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)used) note(WARNING, "a client reads nothing");
}

static void read_command(struct inbound *from) {
    bool open = fill(from->stream, &from->inbox);
    uint8_t *end = memchr(from->inbox.bytes, '\n', from->inbox.used);
    if (end) {
        *end = 0;
        tell(from->stream, (const char *)from->inbox.bytes);
    }
    if (end || !open || from->inbox.used == sizeof from->inbox.bytes) drop(from);
}
