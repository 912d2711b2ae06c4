/* Our connections to the other nodes: one each, made by us, greeted, kept alive, and made again when lost. */
#pragma once

#include "persist.h"

static void hang_up(int node, enum link link, int64_t now) {
    struct peer *peer = &me.peers[node];
    if (peer->stream >= 0) close(peer->stream);
    if (peer->phase == TALKING)
        note(WARNING, "Connection lost to node %d: %s:%ld", node, me.nodes.names[node], me.settings.server_port);
    if (links()[node] == CONNECTED) peer->lost_at = now;
    peer->stream = -1;
    peer->phase = IDLE;
    peer->inbox.used = 0;
    peer->retry_at = now + peer->retry_ms;
    peer->retry_ms = peer->retry_ms * 2 < me.settings.retry_ms ? peer->retry_ms * 2 : me.settings.retry_ms;
    links()[node] = link;
    me.told[node].status = UNAVAILABLE;
    for (int other = 0; other < MOST_NODES; other++) me.told[node].links[other] = INVALID;
    if (link == DISCONNECTED) persist_importers(); /* it said goodbye: nothing of it is left to wait for */
}

/* A connection that was up is missed; one that never was is as it was. */
static void lose(int node, int64_t now) {
    enum link link = links()[node] == CONNECTED ? RECOVERING : links()[node];
    if (link == RECOVERING && !me.settings.grace_seconds) link = DISCONNECTED;
    hang_up(node, link, now);
}

static void start_connecting(int node, int64_t now) {
    struct peer *peer = &me.peers[node];
    peer->retry_at = now + me.settings.retry_ms;
    struct address found;
    if (resolve(me.nodes.names[node], me.settings.server_port, &found)) peer->address = found;
    if (!peer->address.length) return;
    peer->stream = socket(peer->address.place.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    peer->deadline = now + me.settings.peer_timeout_ms;
    if (peer->stream >= 0 && (!connect(peer->stream, (struct sockaddr *)&peer->address.place, peer->address.length) ||
                              errno == EINPROGRESS))
        peer->phase = CONNECTING;
    else lose(node, now);
}

static void finish_connecting(int node, int64_t now) {
    struct peer *peer = &me.peers[node];
    int failed = 0;
    socklen_t length = sizeof failed;
    getsockopt(peer->stream, SOL_SOCKET, SO_ERROR, &failed, &length);
    if (failed || !send_frame(peer->stream, HELLO, &me.identity, sizeof me.identity)) {
        lose(node, now);
        return;
    }
    peer->phase = GREETING;
    peer->deadline = now + me.settings.peer_timeout_ms;
}

static void welcome(int node, const uint8_t *body, int64_t now) {
    struct peer *peer = &me.peers[node];
    struct identity other;
    take_identity(&other, body);
    enum link link = judge(&other);
    if (link == CONNECTED && other.index != (uint32_t)node) link = MAP_MISMATCH;
    if (link != CONNECTED) {
        hang_up(node, link, now);
        return;
    }
    if (peer->times_connected && peer->instance != other.instance)
        note(INFO, "Node %d is a new instance: what it had imported is cleaned up", node);
    peer->instance = other.instance;
    peer->phase = TALKING;
    peer->ping_at = now;
    peer->deadline = now + me.settings.peer_timeout_ms;
    peer->retry_ms = FIRST_RETRY_MS;
    links()[node] = CONNECTED;
    me.awaited[node] = false;
    note(INFO, "Connection established to node %d with ip address %s. Number of times connected: %u", node,
         me.nodes.names[node], ++peer->times_connected);
    persist_importers();
}

static void refused(int node, const uint8_t *body, size_t length, int64_t now) {
    uint32_t said = INVALID;
    if (length >= sizeof said) memcpy(&said, body, sizeof said);
    enum link link = said >= VERSION_MISMATCH && said < CONNECTED ? (enum link)said : links()[node];
    if (link != links()[node]) note(WARNING, "Node %d refused us: %s", node, link_names[link]);
    hang_up(node, link, now);
}

static void hear_pong(int node, const uint8_t *body, int64_t now) {
    struct pong pong;
    struct told *told = &me.told[node];
    memcpy(&pong, body, sizeof pong);
    told->status = pong.status < STATUSES ? (enum status)pong.status : UNAVAILABLE;
    for (int other = 0; other < MOST_NODES; other++)
        told->links[other] = other < pong.count && pong.links[other] < LINKS ? (enum link)pong.links[other] : INVALID;
    pong.driver[sizeof pong.driver - 1] = pong.host[sizeof pong.host - 1] = 0;
    take_text(told->version, sizeof told->version, pong.driver);
    take_text(told->host, sizeof told->host, pong.host);
    me.peers[node].deadline = now + me.settings.peer_timeout_ms;
}

static void hear_peer(int node, enum kind kind, const uint8_t *body, size_t length, int64_t now) {
    enum phase phase = me.peers[node].phase;
    if (phase == GREETING && kind == WELCOME && length == sizeof(struct identity)) welcome(node, body, now);
    else if (phase == GREETING && kind == REFUSED) refused(node, body, length, now);
    else if (phase == TALKING && kind == PONG && length == sizeof(struct pong)) hear_pong(node, body, now);
    else if (phase == TALKING && kind == GOODBYE) hang_up(node, DISCONNECTED, now);
    else lose(node, now);
}

static void read_peer(int node, int64_t now) {
    struct peer *peer = &me.peers[node];
    if (peer->phase == CONNECTING) {
        finish_connecting(node, now);
        return;
    }
    bool open = fill(peer->stream, &peer->inbox);
    while (peer->phase == GREETING || peer->phase == TALKING) {
        enum kind kind;
        uint8_t body[MOST_BODY];
        size_t length;
        enum taken taken = take(&peer->inbox, &kind, body, &length);
        if (taken == NOTHING) break;
        if (taken == TAKEN) hear_peer(node, kind, body, length, now);
        else if (taken == OTHER_VERSION) hang_up(node, VERSION_MISMATCH, now);
        else lose(node, now);
    }
    if (!open && peer->phase != IDLE) lose(node, now);
}

static void tend_peer(int node, int64_t now) {
    struct peer *peer = &me.peers[node];
    if (links()[node] == RECOVERING && me.settings.grace_seconds >= 0 &&
        now - peer->lost_at >= me.settings.grace_seconds * 1000)
        links()[node] = DISCONNECTED;
    if (peer->phase == IDLE) {
        if (now >= peer->retry_at) start_connecting(node, now);
    } else if (now >= peer->deadline) {
        lose(node, now);
    } else if (peer->phase == TALKING && now >= peer->ping_at) {
        peer->ping_at = now + me.settings.keepalive_ms;
        if (!send_frame(peer->stream, PING, NULL, 0)) lose(node, now);
    }
}
