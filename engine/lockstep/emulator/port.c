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
    *p = (struct port){ .link = link, .ring = ring, .delay = link->delay, .rate = link->rate ? link->rate : 1, .queue = link->queue, .pause = link->pause };
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

static void send_frame(struct port *p, const uint8_t *frame, size_t length)
{
    struct channel *c = p->tx;
    uint64_t now = (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL), begins = most(now, get(&c->wire_free));
    if (now < me->start) {
        count(&c->early_drops, 1);
        return;
    }
    if (begins - now > p->queue || length > LONGEST) {
        count(&c->queue_drops, 1);
        return;
    }
    uint64_t end = begins + serialisation(p, length), head = get(&c->head), bytes = sizeof(struct record) + ((length + 7) & ~7ull);
    struct record record = { .at = end + p->delay, .length = (uint32_t)length };
    if (head + bytes - atomic_load(&c->tail) > p->ring) fail(INTERNAL, "the ring of the link with %s has no room", p->name);
    if (record.at < known_there(p)) count(&c->broken, 1);
    set(&c->wire_free, end);
    copy_in(p, head, &record, sizeof record);
    copy_in(p, head + sizeof record, frame, length);
    count(&c->sent, 1), count(&c->sent_bytes, length);
    chain(&c->sent_hash, record.at, frame, length);
    atomic_store(&c->head, head + bytes);
    if (p->e1000 && !get(&c->pressed) && end - now > p->pause) {
        set(&c->pressed, 1), set(&c->pressed_until, now);
        arm();
    }
}

// QEMU's hub has a frame for the link.
static ssize_t receive(NetClientState *nc, const uint8_t *frame, size_t length)
{
    for each_port (p)
        if (p->nc == nc) send_frame(p, frame, length);
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
            if (qemu_can_send_packet(p->nc)) qemu_send_packet(p->nc, frame, (int)record.length);
            else count(&c->nic_drops, 1); // as a real NIC whose ring is full
        }
    }
}

// ---- back-pressure ----
// While the wire is busy the NIC's transmitter is off, so that the guest's ring fills as on a real NIC.

static void transmitter(struct port *p, bool on)
{
    const uint64_t tctl = 0x400, enable = 2;
    uint64_t value = 0;
    memory_region_dispatch_read(p->e1000, tctl, &value, MEMOP_32, 0);
    memory_region_dispatch_write(p->e1000, tctl, on ? value | enable : value & ~enable, MEMOP_32, 0);
}

uint64_t press_due(struct port *p)
{
    return get(&p->tx->pressed) ? get(&p->tx->pressed_until) : NEVER;
}

void press(uint64_t now)
{
    for each_port (p) {
        struct channel *c = p->tx;
        if (press_due(p) > now) continue;
        if (get(&c->pressed) == 1) {
            transmitter(p, false);
            count(&c->pauses, 1);
            set(&c->pressed, 2), set(&c->pressed_until, most(now + 1, get(&c->wire_free) - p->pause / 2));
        } else {
            set(&c->pressed, 0);
            transmitter(p, true);
        }
    }
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
    send_frame(p, frame, length);
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

void connect_ports(void)
{
    for (int i = 0; i < port_count; i++) {
        struct port *p = &ports[i];
        const struct side_link *about = &me->links[i];
        char name[32], path[128];
        snprintf(name, sizeof name, "lockstep%d", i);
        p->nc = qemu_new_net_client(&client, NULL, "lockstep", name);
        net_hub_add_port((int)about->hub, NULL, p->nc);
        if (!about->nic[0]) continue;
        bool ambiguous = false;
        snprintf(path, sizeof path, "/machine/peripheral/%.*s", NAME, about->nic);
        void *device = object_resolve_path(path, &ambiguous);
        p->e1000 = device ? object_resolve_path_component(device, "e1000-mmio[0]") : NULL;
        if (!p->e1000) fail(MISUSED, "no e1000 has id=%.*s, whose transmitter the link with %s should stop", NAME, about->nic, p->name);
    }
}
