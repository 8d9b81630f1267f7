// SPDX-License-Identifier: MIT
// Ends of links: frames in and out, back-pressure, and the generator.
#define _GNU_SOURCE
#include "lockstep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct port ports[LINKS];
int port_count;

// ---- the files ----

// Maps a file of at least `least_size` bytes. It stays open: its lock is looked at.
static void *map(const char *path, size_t least_size, size_t *size, int *file)
{
    struct stat about;
    *file = open(path, O_RDWR | O_CLOEXEC);
    if (*file < 0 || fstat(*file, &about)) fail(MISUSED, "cannot open %s: %s", path, strerror(errno));
    if ((size_t)about.st_size < least_size) fail(MISUSED, "%s has %ld bytes where at least %zu belong", path, (long)about.st_size, least_size);
    void *at = mmap(NULL, (size_t)about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
    if (at == MAP_FAILED) fail(MISUSED, "cannot map %s: %s", path, strerror(errno));
    *size = (size_t)about.st_size;
    return at;
}

struct side *open_side(const char *path, int *file)
{
    size_t size;
    struct side *side = map(path, SIDE_FILE, &size, file);
    if (side->magic != SIDE_MAGIC) fail(MISUSED, "%s isn't a file of a lockstep", path);
    if (side->version != VERSION) fail(MISUSED, "%s has format %u; this library knows %u", path, side->version, VERSION);
    return side;
}

static void open_port(struct port *p, const char *folder, const struct side_link *about)
{
    char path[4096];
    size_t size;
    int file;
    snprintf(path, sizeof path, "%s/%.*s", folder, NAME, about->file);
    struct link *link = map(path, PAGE, &size, &file);
    if (link->magic != LINK_MAGIC || link->version != VERSION) fail(MISUSED, "%s isn't a link that this library knows", path);
    uint64_t ring = link->ring;
    if (!ring || ring & (ring - 1) || size < PAGE + 2 * (CHANNEL + ring)) fail(MISUSED, "%s: a ring of %lu bytes in a file of %zu", path, (long)ring, size);
    int end = about->end & 1;
    char *channels[2] = { (char *)link + PAGE, (char *)link + PAGE + CHANNEL + ring };
    *p = (struct port){ .link = link, .ring = ring, .delay = link->delay, .rate = link->rate ? link->rate : 1, .queue = link->queue, .pause = link->pause, .buffer = link->buffer };
    p->tx = (void *)channels[end], p->tx_ring = (uint8_t *)channels[end] + CHANNEL;
    p->rx = (void *)channels[!end], p->rx_ring = (uint8_t *)channels[!end] + CHANNEL;
    p->rung = p->tx->head;
    p->name = link->sides[!end];
    snprintf(path, sizeof path, "%s/%.*s.side", folder, NAME, p->name);
    p->peer = open_side(path, &p->peer_file);
    close(file);
}

void open_ports(const char *folder)
{
    for (uint32_t i = 0; i < me->link_count && i < LINKS; i++) open_port(&ports[port_count++], folder, &me->links[i]);
}

// ---- frames ----

static void copy_in(const struct port *p, uint64_t at, const void *from, size_t n)
{
    at &= p->ring - 1;
    size_t first = n < p->ring - at ? n : p->ring - at;
    memcpy(p->tx_ring + at, from, first);
    memcpy(p->tx_ring, (const char *)from + first, n - first);
}

static void copy_out(const struct port *p, uint64_t at, void *to, size_t n)
{
    at &= p->ring - 1;
    size_t first = n < p->ring - at ? n : p->ring - at;
    memcpy(to, p->rx_ring + at, first);
    memcpy((char *)to + first, p->rx_ring, n - first);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x100000001b3ull;
    return hash ^ hash >> 29;
}

static void chain(word *hash, uint64_t at, const uint8_t *frame, size_t length)
{
    uint64_t h = mix(mix(get(hash), at), length);
    for (size_t i = 0; i < length; i += 8) {
        uint64_t value = 0;
        memcpy(&value, frame + i, length - i < 8 ? length - i : 8);
        h = mix(h, value);
    }
    set(hash, h);
}

// Nanoseconds on the wire: preamble, checksum and gap are 24 bytes.
uint64_t serialisation(struct port *p, uint64_t length)
{
    return (most(length, 60) + 24) * 8000000000ull / p->rate;
}

// SplitMix64 (Steele, Lea and Flood, 2014).
static uint64_t scatter(uint64_t n)
{
    n = (n + 1) * 0x9e3779b97f4a7c15ull;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
    n = (n ^ n >> 27) * 0x94d049bb133111ebull;
    return n ^ n >> 31;
}

// When a frame's end leaves the switch, which forwards whole frames in the order in which they come; 0 if it drops it.
// From a buffer half full on it drops some, as RED does (Floyd and Jacobson, 1993): with a full buffer alone, senders of
// equal rates would stay in step, and all losses would be one sender's.
static uint64_t through_switch(struct port *p, uint64_t comes, size_t length)
{
    uint64_t free = get(&p->tx->wire_free), half = p->buffer / 2 + 1, queued = free > comes ? free - comes : 0;
    if (queued > half && scatter(get(&p->tx->sent) + get(&p->tx->switch_drops)) % half < queued - half) return 0;
    return most(comes, free) + serialisation(p, length);
}

static void send_frame(struct port *p, int from, const uint8_t *frame, size_t length)
{
    struct channel *c = p->tx;
    struct wire *wire = &c->wires[from];
    uint64_t now = (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL), begins = most(now, get(&wire->free));
    if (now < me->start) {
        count(&c->early_drops, 1);
        return;
    }
    if (begins - now > p->queue || length > LONGEST) {
        count(&c->queue_drops, 1);
        return;
    }
    uint64_t end = begins + serialisation(p, length);
    set(&wire->free, end);
    if (p->nics[from].e1000 && !get(&wire->pressed) && end - now > p->pause) {
        set(&wire->pressed, 1), set(&wire->pressed_until, now);
        arm();
    }
    if (p->nic_count > 1 && !(end = through_switch(p, end, length))) {
        count(&c->switch_drops, 1);
        return;
    }
    uint64_t head = get(&c->head), bytes = sizeof(struct record) + ((length + 7) & ~7ull);
    struct record record = { .at = end + p->delay, .length = (uint32_t)length };
    if (head + bytes - atomic_load(&c->tail) > p->ring) fail(INTERNAL, "the ring of the link with %s has no room", p->name);
    if (record.at < known_there(p)) count(&c->broken, 1);
    set(&c->wire_free, end);
    copy_in(p, head, &record, sizeof record);
    copy_in(p, head + sizeof record, frame, length);
    count(&c->sent, 1), count(&c->sent_bytes, length);
    chain(&c->sent_hash, record.at, frame, length);
    atomic_store(&c->head, head + bytes);
}

// QEMU's hub has a frame for the link.
static ssize_t receive(NetClientState *nc, const uint8_t *frame, size_t length)
{
    for each_port (p)
        for (int i = 0; i < p->nic_count; i++)
            if (p->nics[i].nc == nc) send_frame(p, i, frame, length);
    return (ssize_t)length;
}

// When the first frame in the ring arrives.
uint64_t first_arrival(struct port *p)
{
    struct record record;
    uint64_t tail = get(&p->rx->tail);
    if (tail == atomic_load(&p->rx->head)) return NEVER;
    copy_out(p, tail, &record, sizeof record);
    return record.at;
}

static void hand_over(struct port *p, struct nic *nic, const uint8_t *frame, size_t length)
{
    if (qemu_can_send_packet(nic->nc)) qemu_send_packet(nic->nc, frame, (int)length);
    else count(&p->rx->nic_drops, 1); // as a real NIC whose ring is full
}

// To the NIC that it is for. The switch knows the NICs' addresses; what is for none of them goes to all.
static void hand_out(struct port *p, const uint8_t *frame, size_t length)
{
    uint64_t to = 0;
    for (int i = 0; i < 6; i++) to = to << 8 | frame[i];
    for (int i = 0; i < p->nic_count; i++)
        if (p->nics[i].mac == to) return hand_over(p, &p->nics[i], frame, length);
    for (int i = 0; i < p->nic_count; i++) hand_over(p, &p->nics[i], frame, length);
}

// Gives the machine what has arrived.
void deliver(uint64_t now)
{
    static uint8_t frame[LONGEST];
    for each_port (p) {
        while (first_arrival(p) <= now) {
            struct record record;
            struct channel *c = p->rx;
            uint64_t tail = get(&c->tail);
            copy_out(p, tail, &record, sizeof record);
            if (record.length > LONGEST) fail(INTERNAL, "the ring of the link with %s has a frame of %u bytes", p->name, record.length);
            copy_out(p, tail + sizeof record, frame, record.length);
            atomic_store_explicit(&c->tail, tail + sizeof record + ((record.length + 7) & ~7ull), memory_order_release);
            count(&c->taken, 1), count(&c->taken_bytes, record.length);
            chain(&c->taken_hash, record.at, frame, record.length);
            if (now - record.at >= (uint64_t)icount_to_ns(1)) count(&c->late, 1);
            hand_out(p, frame, record.length);
        }
    }
}

// ---- back-pressure ----
// While the wire is busy the NIC's transmitter is off, so that the guest's ring fills as on a real NIC.

static void transmitter(struct nic *nic, bool on)
{
    const uint64_t tctl = 0x400, enable = 2;
    uint64_t value = 0;
    memory_region_dispatch_read(nic->e1000, tctl, &value, MEMOP_32, 0);
    memory_region_dispatch_write(nic->e1000, tctl, on ? value | enable : value & ~enable, MEMOP_32, 0);
}

static uint64_t wire_due(struct wire *wire) { return get(&wire->pressed) ? get(&wire->pressed_until) : NEVER; }

uint64_t press_due(struct port *p)
{
    uint64_t due = NEVER;
    for (int i = 0; i < p->nic_count; i++) due = least(due, wire_due(&p->tx->wires[i]));
    return due;
}

static void press_wire(struct port *p, int n, uint64_t now)
{
    struct wire *wire = &p->tx->wires[n];
    if (get(&wire->pressed) == 1) {
        transmitter(&p->nics[n], false);
        count(&p->tx->pauses, 1);
        set(&wire->pressed, 2), set(&wire->pressed_until, most(now + 1, get(&wire->free) - p->pause / 2));
    } else {
        set(&wire->pressed, 0);
        transmitter(&p->nics[n], true);
    }
}

void press(uint64_t now)
{
    for each_port (p)
        for (int i = 0; i < p->nic_count; i++)
            if (wire_due(&p->tx->wires[i]) <= now) press_wire(p, i, now);
}

// ---- the generator ----

static struct phase *phases(struct port *p) { return (struct phase *)((char *)p->tx + PHASES_AT); }

// Frame number n leaves at start + n * interval.
static uint64_t phase_next(struct phase *f)
{
    uint64_t n = get(&f->sent);
    if (n >= get(&f->count)) return NEVER;
    return get(&f->start) + (uint64_t)((unsigned __int128)n * get(&f->interval_ps) / 1000);
}

static void phases_due(struct port *p)
{
    p->phase_due = NEVER;
    for (uint64_t i = 0; i < least(get(&p->tx->phase_count), PHASES); i++) p->phase_due = least(p->phase_due, phase_next(&phases(p)[i]));
}

void read_phases(void)
{
    for each_port (p) phases_due(p);
}

static void send_generated(struct port *p, struct phase *f, uint64_t now)
{
    static uint8_t frame[LONGEST];
    uint64_t n = get(&f->sent), length = least(most(f->length, 60), LONGEST);
    uint32_t templates = f->templates ? f->templates : 1;
    memset(frame, 0, length);
    memcpy(frame, f->template[n % templates % TEMPLATES], length < TEMPLATE ? length : TEMPLATE);
    memcpy(frame + 42, &n, 8); // the payload: its number and its time
    memcpy(frame + 50, &now, 8);
    set(&f->sent, n + 1);
    send_frame(p, 0, frame, length);
}

void generate(uint64_t now)
{
    for each_port (p) {
        if (p->phase_due > now) continue;
        for (uint64_t i = 0; i < least(get(&p->tx->phase_count), PHASES); i++)
            while (phase_next(&phases(p)[i]) <= now) send_generated(p, &phases(p)[i], now);
        phases_due(p);
    }
}

// ---- into the machine ----

static NetClientInfo client = { .type = 0, .size = 4096, .receive = receive };

// A single NIC has the id that the side's file gives; several have it with their number.
static void connect_nic(struct port *p, int n, const struct side_link *about)
{
    struct nic *nic = &p->nics[n];
    char name[32], path[128];
    snprintf(name, sizeof name, "lockstep%ld.%d", (long)(p - ports), n);
    nic->nc = qemu_new_net_client(&client, NULL, "lockstep", name);
    net_hub_add_port((int)about->hub + n, NULL, nic->nc);
    if (about->first_mac) nic->mac = about->first_mac + (uint64_t)n;
    if (!about->nic[0]) return;
    if (p->nic_count > 1) snprintf(path, sizeof path, "/machine/peripheral/%.*s-%d", NAME, about->nic, n);
    else snprintf(path, sizeof path, "/machine/peripheral/%.*s", NAME, about->nic);
    bool ambiguous = false;
    void *device = object_resolve_path(path, &ambiguous);
    nic->e1000 = device ? object_resolve_path_component(device, "e1000-mmio[0]") : NULL;
    if (!nic->e1000) fail(MISUSED, "there is no e1000 %s, whose transmitter the link with %s should stop", path, p->name);
}

void connect_ports(void)
{
    for (int i = 0; i < port_count; i++) {
        struct port *p = &ports[i];
        if (!me->links[i].nics || me->links[i].nics > NICS) fail(MISUSED, "the link with %s has %u NICs", p->name, me->links[i].nics);
        p->nic_count = (int)me->links[i].nics;
        for (int n = 0; n < p->nic_count; n++) connect_nic(p, n, &me->links[i]);
    }
}
