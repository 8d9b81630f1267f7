// SPDX-License-Identifier: MIT
// The layout of the shared memory by which sides of a lockstep talk: the same as in ../src/channel.rs, which explains it.
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SIDE_MAGIC 0x6564697370786576ull // "vexpside"
#define LINK_MAGIC 0x6b6e696c70786576ull // "vexplink"
#define VERSION 2u
#define NAME 64
#define LINKS 16
#define NICS 24
#define PHASES 16
#define TEMPLATES 8
#define TEMPLATE 64
#define PAGE 4096
#define CHANNEL (3 * PAGE)
#define PHASES_AT 2048
#define SIDE_FILE (4 * PAGE)
#define LONGEST 65600
#define NEVER ((uint64_t)INT64_MAX)

typedef _Atomic uint64_t word;
typedef _Atomic uint32_t half;

enum state { CREATED, RUNNING, STOPPED, ENDED, FAILED };

struct side_link {
    char file[NAME], nic[NAME];
    uint32_t end, hub, nics, spare0;
    uint64_t first_mac;
    uint32_t spare1[10];
};

struct side {
    word magic;
    half version, link_count;
    word start, quantum, patience, fault_late, spare0[2];
    half bell, asleep, state, cause;
    word now, attending, spare1[4];
    word stop_at, generators, spare2[6];
    word borders, late_borders, idle, waits, waited, sleeps, vmruns, spare3[1];
    struct side_link links[LINKS];
};

struct phase {
    word start, count, interval_ps;
    half length, templates;
    word sent, spare[3];
    uint8_t template[TEMPLATES][TEMPLATE];
};

struct link {
    word magic;
    half version, spare0;
    word delay, rate, queue, pause, ring, buffer;
    char sides[2][NAME];
};

// What one NIC has on its own wire.
struct wire {
    word free, pressed, pressed_until, spare;
};

struct channel {
    // The writer's.
    word horizon, promise, promise_seen, head, wire_free, spare0[2], pauses;
    word sent, sent_bytes, sent_hash, queue_drops, early_drops, broken, switch_drops, spare1;
    // The reader's.
    word tail, want, blocked, taken, taken_bytes, taken_hash, nic_drops, late, spare2[8];
    // vexp's.
    word phase_count, spare3[7];
    // The writer's.
    struct wire wires[NICS];
};

// Before each frame in a ring. Frames begin at multiples of 8.
struct record {
    uint64_t at;
    uint32_t length, spare;
};

_Static_assert(sizeof(struct side_link) == 192, "layout");
_Static_assert(offsetof(struct side, bell) == 64, "layout");
_Static_assert(offsetof(struct side, stop_at) == 128, "layout");
_Static_assert(offsetof(struct side, borders) == 192, "layout");
_Static_assert(offsetof(struct side, links) == 256, "layout");
_Static_assert(sizeof(struct side) == 256 + LINKS * 192, "layout");
_Static_assert(sizeof(struct phase) == 64 + TEMPLATES * TEMPLATE, "layout");
_Static_assert(offsetof(struct link, sides) == 64, "layout");
_Static_assert(sizeof(struct link) == 64 + 2 * NAME, "layout");
_Static_assert(offsetof(struct channel, tail) == 128, "layout");
_Static_assert(offsetof(struct channel, phase_count) == 256, "layout");
_Static_assert(offsetof(struct channel, wires) == 320, "layout");
_Static_assert(sizeof(struct channel) == 320 + NICS * 32, "layout");
_Static_assert(sizeof(struct channel) <= PHASES_AT, "layout");
_Static_assert(PHASES_AT + PHASES * sizeof(struct phase) <= CHANNEL, "layout");
_Static_assert(sizeof(struct record) == 16, "layout");

#endif
