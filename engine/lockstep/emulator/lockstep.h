// SPDX-License-Identifier: MIT
// Parts of the library, in the order in which they stand on each other: pin.c, idle.c, port.c, wait.c, lockstep.c.
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include "layout.h"
#include "qemu.h"

// Exit codes of an emulator that leaves the lockstep, and the cause that it gives while it can't stop since it is inside a
// guest; ../src/wait.rs knows them.
enum { REFUSED = 81, MISUSED = 82, ABANDONED = 83, INSIDE_GUEST = 84, INTERNAL = 85 };

// A NIC of the machine at a link.
struct nic {
    NetClientState *nc;
    void *e1000; // its registers, if back-pressure stops it
    uint64_t mac; // as a number; the first byte of the address is the highest
};

// This side's end of a link. Where it has several NICs, a switch joins them to it.
struct port {
    struct link *link;
    struct channel *tx, *rx;
    uint8_t *tx_ring, *rx_ring;
    uint64_t ring, delay, rate, queue, pause, buffer;
    struct side *peer;
    int peer_file;
    const char *name;
    struct nic nics[NICS];
    int nic_count;
    uint64_t rung; // where the ring's head was when the peer was last woken
    uint64_t known, first; // as survey() saw them
    uint64_t phase_due; // when the generator sends next
};

extern struct side *me;
extern struct port ports[LINKS];
extern int port_count;

// lockstep.c
void fail(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void arm(void);

// pin.c: makes sure that this is an emulator that the library knows, and changes it. Ends it otherwise.
void pin(void);

// idle.c
void idle(void);
void vmrun(void *env, int aflag, int next_eip);
bool inside_guest(void);

// port.c
void open_ports(const char *folder);
void connect_ports(void);
uint64_t first_arrival(struct port *);
void deliver(uint64_t now);
void press(uint64_t now);
uint64_t press_due(struct port *);
void read_phases(void);
void generate(uint64_t now);
uint64_t serialisation(struct port *, uint64_t length);

// wait.c
void ring(struct side *);
void publish(struct port *, uint64_t from);
uint64_t known_there(struct port *);
uint64_t wait_for_others(uint64_t now, bool leaving);

static inline uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t get(word *w) { return atomic_load_explicit(w, memory_order_relaxed); }
static inline void set(word *w, uint64_t v) { atomic_store_explicit(w, v, memory_order_relaxed); }
static inline void count(word *w, uint64_t n) { set(w, get(w) + n); }

#define each_port(p) (struct port *p = ports; p < ports + port_count; p++)

#endif
