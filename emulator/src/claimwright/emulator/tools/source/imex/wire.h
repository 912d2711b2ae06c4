/* What daemons say to each other: frames of one magic word, a version, a kind and a length. All hosts are little-endian
 * (x86-64, aarch64), so numbers travel as they lie in memory. */
#pragma once

#include <stddef.h>

#include "domain.h"

enum { WIRE_MAGIC = 0x58495743, WIRE_VERSION = 1, MOST_BODY = 512 };
enum kind { HELLO = 1, WELCOME = 2, REFUSED = 3, PING = 4, PONG = 5, GOODBYE = 6 };

struct frame {
    uint32_t magic;
    uint8_t version, kind;
    uint16_t length;
};

struct identity {
    uint64_t instance; /* drawn at start: another number is another daemon */
    uint64_t node_map; /* digest of the nodes file */
    uint32_t index;
    uint32_t clique;
    uint8_t cluster[16];
    char driver[32];
    char host[64];
};
_Static_assert(sizeof(struct identity) == 136, "the same on every host");

struct pong {
    uint8_t status, count, links[MOST_NODES], unused[6];
    char driver[32];
    char host[64];
};

/* A stream's bytes so far; a frame is taken out when it is whole. */
struct inbox {
    size_t used;
    uint8_t bytes[sizeof(struct frame) + MOST_BODY];
};

enum taken { NOTHING, TAKEN, OTHER_VERSION, GARBAGE };

/* Take one frame out of the inbox. Of another version the magic word and the version's place are what never changes. */
static enum taken take(struct inbox *inbox, enum kind *kind, uint8_t *body, size_t *length) {
    struct frame frame;
    if (inbox->used < sizeof frame) return NOTHING;
    memcpy(&frame, inbox->bytes, sizeof frame);
    if (frame.magic != WIRE_MAGIC) return GARBAGE;
    if (frame.version != WIRE_VERSION) return OTHER_VERSION;
    if (frame.length > MOST_BODY) return GARBAGE;
    size_t whole = sizeof frame + frame.length;
    if (inbox->used < whole) return NOTHING;
    memcpy(body, inbox->bytes + sizeof frame, frame.length);
    memmove(inbox->bytes, inbox->bytes + whole, inbox->used - whole);
    inbox->used -= whole;
    *kind = frame.kind;
    *length = frame.length;
    return TAKEN;
}

static uint64_t digest(uint64_t so_far, const char *text) {
    for (; *text; text++) so_far = (so_far ^ (uint8_t)*text) * 0x100000001b3u; /* FNV-1a */
    return (so_far ^ '\n') * 0x100000001b3u;
}
