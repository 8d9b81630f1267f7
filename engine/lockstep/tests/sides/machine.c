// SPDX-License-Identifier: MIT
// For tests: a machine without QEMU, on which the library's code stands. Its "guest" computes, sleeps, sends and answers at
// times that a seed decides; how fast it goes in real time is chance.
#define _GNU_SOURCE
#include "../../emulator/lockstep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

int use_icount = 1;
static int64_t now, own_timer = -1, busy_until, next_act, answer_at = -1;
static void (*timer_runs)(void *), (*state_changes)(void *, bool, int);
static bool running = true;
static uint64_t seed;
static int64_t grain; // nanoseconds of an instruction: while it computes, its clock goes in such steps
static unsigned jitter;
static int answer_hub;
static struct { NetClientState *nc; int hub; } hubs[LINKS];
static int hub_count;
static NetClientInfo *client;

static uint64_t chance(uint64_t below)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % below;
}

// ---- what the library uses of QEMU ----
void pin(void) {}
bool inside_guest(void) { return false; }
int64_t icount_to_ns(int64_t n) { return n * grain; }
int64_t qemu_clock_get_ns(int clock) { return now; }
void timer_init_full(QEMUTimer *t, void *g, int c, int s, int a, void (*run)(void *), void *o) { timer_runs = run; }
void timer_mod_ns(QEMUTimer *t, int64_t at) { own_timer = at; }
static int64_t guest_event(void) { return answer_at >= 0 && answer_at < next_act ? answer_at : next_act; }
int64_t qemu_clock_deadline_ns_all(int clock, int attributes)
{
    int64_t at = guest_event();
    if (own_timer >= 0 && own_timer < at) at = own_timer;
    return at > now ? at - now : 0;
}
NetClientState *qemu_new_net_client(NetClientInfo *info, NetClientState *peer, const char *model, const char *name)
{
    client = info;
    return (NetClientState *)(hubs + hub_count);
}
NetClientState *net_hub_add_port(int hub, const char *name, NetClientState *nc)
{
    hubs[hub_count].nc = nc, hubs[hub_count++].hub = hub;
    return nc;
}
int qemu_can_send_packet(NetClientState *nc) { return 1; }
ssize_t qemu_send_packet(NetClientState *nc, const uint8_t *frame, int length)
{
    // Half of what comes is answered, by any link, some time later.
    if (frame[0] & 1 && answer_at < 0) {
        answer_at = now + 100 + (int64_t)(frame[1] * 100);
        answer_hub = frame[2] % hub_count;
    }
    return length;
}
static void (*on_ready)(Notifier *, void *);
void qemu_add_machine_init_done_notifier(Notifier *n) { on_ready = n->notify; }
void *qemu_add_vm_change_state_handler(void (*handler)(void *, bool, int), void *o)
{
    state_changes = handler;
    return NULL;
}
int vm_stop(int state)
{
    running = false;
    return 0;
}
bool all_cpu_threads_idle(void) { return now >= busy_until; }
void *object_resolve_path_component(void *o, const char *p) { return NULL; }
void *object_resolve_path(const char *p, bool *a) { return NULL; }
int memory_region_dispatch_read(void *r, uint64_t a, uint64_t *v, int o, uint64_t t) { return 0; }
int memory_region_dispatch_write(void *r, uint64_t a, uint64_t v, int o, uint64_t t) { return 0; }

// ---- the guest ----
static void send_some(int hub)
{
    uint8_t frame[1514];
    int length = 20 + (int)chance(1400);
    for (int i = 0; i < length; i++) frame[i] = (uint8_t)chance(256);
    client->receive(hubs[hub].nc, frame, (size_t)length);
}

static void act(void)
{
    if (answer_at >= 0 && answer_at <= now) {
        answer_at = -1;
        send_some(answer_hub);
        busy_until = now + 500;
        return;
    }
    // It sends only while it is busy: that it is known to be idle means that it can't.
    for (uint64_t n = chance(4); n; n--) send_some((int)chance((uint64_t)hub_count));
    if (chance(3)) {
        busy_until = now + (int64_t)chance(150000);
        next_act = now + 1 + (int64_t)chance(60000);
    } else {
        next_act = now + 1 + (int64_t)chance(3000000);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    grain = atoi(argv[4]);
    seed = strtoull(argv[2], NULL, 10), jitter = (unsigned)strtoul(argv[3], NULL, 10);
    qemu_plugin_install(0, NULL, 1, argv + 1);
    on_ready(NULL, NULL);
    now = 0, next_act = 1000;
    state_changes(NULL, true, 0);
    srand((unsigned)getpid());
    while (running) {
        int64_t guest = guest_event();
        int64_t next = own_timer >= 0 && own_timer < guest ? own_timer : guest, before = now;
        if (before < busy_until && next > busy_until) next = busy_until;
        // Idle, it goes to the very nanosecond.
        now = before >= busy_until ? next : before + (next - before + grain - 1) / grain * grain;
        if (guest <= now) act();
        if (own_timer >= 0 && own_timer <= now) {
            own_timer = -1;
            timer_runs(NULL);
        }
        if (jitter && rand() % jitter == 0) usleep((useconds_t)(rand() % 300));
    }
    state_changes(NULL, false, 0);
    for (;;) pause();
}
