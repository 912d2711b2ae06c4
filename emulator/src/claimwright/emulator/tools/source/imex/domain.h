/* The state machine of a domain, without sockets: what each node says, what it waits for, what the whole is worth. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

enum { MOST_NODES = 64 };

enum status { UNAVAILABLE, INITIALIZING, WAITING_FOR_PEERS, WAITING_FOR_RECOVERY, INIT_GPU, READY, SHUTTING_DOWN };
static const char *const status_names[] = {
    "UNAVAILABLE", "INITIALIZING", "WAITING_FOR_PEERS", "WAITING_FOR_RECOVERY", "INIT_GPU", "READY", "SHUTTING_DOWN"};
enum { STATUSES = sizeof status_names / sizeof *status_names };

enum link { INVALID, NEVER, RECOVERING, DISCONNECTED, VERSION_MISMATCH, MAP_MISMATCH, CLIQUE_MISMATCH, CONNECTED };
static const char *const link_names[] = {
    "INVALID", "NEVER_CONNECTED", "RECOVERING", "DISCONNECTED", "VERSION_MISMATCH", "NODE_MAP_MISMATCH",
    "CLIQUE_MISMATCH", "CONNECTED"};
static const char *const link_signs[] = {"I", "N", "R", "D", "!V!", "!M!", "!K!", "C"};
enum { LINKS = sizeof link_names / sizeof *link_names };

struct told { /* what a node says of itself */
    enum status status;
    enum link links[MOST_NODES];
    char version[32];
    char host[64];
};

/* Once ready a node stays so: lost peers make the domain degraded, not the node. */
static enum status next_status(enum status now, enum quorum quorum, bool fabric_complete, const enum link *links,
                               const bool *awaited, int nodes) {
    if (now == READY || now == SHUTTING_DOWN) return now;
    bool all = true, recovered = true;
    for (int node = 0; node < nodes; node++) {
        all &= links[node] == CONNECTED;
        recovered &= links[node] == CONNECTED || !awaited[node];
    }
    if (quorum == QUORUM_FULL && !all) return WAITING_FOR_PEERS;
    if (quorum != QUORUM_NONE && !recovered) return WAITING_FOR_RECOVERY;
    return fabric_complete ? READY : INIT_GPU;
}

/* UP: every node is ready and reaches every other. DOWN: no node is ready. */
static const char *domain_state(const struct told *told, int nodes) {
    int ready = 0;
    bool whole = true;
    for (int from = 0; from < nodes; from++) {
        ready += told[from].status == READY;
        for (int to = 0; to < nodes; to++) whole &= told[from].links[to] == CONNECTED;
    }
    return whole && ready == nodes ? "UP" : ready ? "DEGRADED" : "DOWN";
}
