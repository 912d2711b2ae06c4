/* The daemon's whole state, and what peers, server and command service share. */
#pragma once

#include <poll.h>
#include <sys/random.h>

#include "gpus.h"

enum phase { IDLE, CONNECTING, GREETING, TALKING };
enum { MOST_INBOUND = 256, MOST_COMMANDS = 32, FIRST_RETRY_MS = 50 };

struct peer {
    struct address address;
    enum phase phase;
    int stream;
    struct inbox inbox;
    int64_t retry_at, deadline, ping_at, lost_at;
    long retry_ms;
    uint64_t instance;
    unsigned times_connected;
};

struct inbound {
    int stream, index; /* -1 until it said who it is */
    struct inbox inbox;
    int64_t deadline;
};

static struct {
    struct settings settings;
    struct node_list nodes;
    struct identity identity;
    struct fabric fabric;
    enum status status;
    int own;
    int listener, command_tcp, command_unix;
    struct peer peers[MOST_NODES];
    struct told told[MOST_NODES]; /* what each node said last; links[own] of ours are our connections */
    bool awaited[MOST_NODES];     /* held imports from our last life, and was not seen since */
    struct inbound inbound[MOST_INBOUND];
    struct inbound commands[MOST_COMMANDS];
} me = {.own = -1, .listener = -1, .command_tcp = -1, .command_unix = -1};

static enum link *links(void) { return me.told[me.own].links; }

static bool send_frame(int stream, enum kind kind, const void *body, size_t length) {
    uint8_t bytes[sizeof(struct frame) + MOST_BODY];
    struct frame frame = {WIRE_MAGIC, WIRE_VERSION, (uint8_t)kind, (uint16_t)length};
    memcpy(bytes, &frame, sizeof frame);
    if (length) memcpy(bytes + sizeof frame, body, length);
    /* Frames are far smaller than a socket's buffer: what does not fit at once is a peer that reads nothing. */
    return send(stream, bytes, sizeof frame + length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)(sizeof frame + length);
}

/* Read what is there; false when the stream has ended. */
static bool fill(int stream, struct inbox *inbox) {
    ssize_t got = recv(stream, inbox->bytes + inbox->used, sizeof inbox->bytes - inbox->used, MSG_DONTWAIT);
    if (got > 0) inbox->used += (size_t)got;
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Two daemons work together when they are of one driver branch, as 580.126 and 580.95 are. */
static bool same_branch(const char *one, const char *other) {
    size_t length = strcspn(one, ".");
    return length == strcspn(other, ".") && !memcmp(one, other, length);
}

static enum link judge(const struct identity *other) {
    if (!same_branch(me.identity.driver, other->driver)) return VERSION_MISMATCH;
    if (other->node_map != me.identity.node_map || other->index >= (uint32_t)me.nodes.count) return MAP_MISMATCH;
    if (other->clique != me.identity.clique || memcmp(other->cluster, me.identity.cluster, sizeof other->cluster))
        return CLIQUE_MISMATCH;
    return CONNECTED;
}

static void take_identity(struct identity *out, const uint8_t *body) {
    memcpy(out, body, sizeof *out);
    out->driver[sizeof out->driver - 1] = out->host[sizeof out->host - 1] = 0;
}

/* Text of another host goes into tables and JSON. */
static void take_text(char *to, size_t room, const char *from) {
    size_t at = 0;
    for (; at + 1 < room && from[at]; at++)
        to[at] = from[at] > ' ' && from[at] < 127 && from[at] != '"' && from[at] != '\\' ? from[at] : '?';
    to[at] = 0;
}
