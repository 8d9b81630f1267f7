// SPDX-License-Identifier: MIT
// Couples QEMU with other sides of a lockstep in virtual time; loaded with -plugin lockstep.so,side=FILE.
//
// One timer of the virtual clock stands for all that happens on links: borders, arrivals, back-pressure, generated frames.
// Under icount it runs in the vCPU's thread at an exact instruction, and while it waits for others it holds the BQL, so
// that nothing else of this process can run.
//
// QEMU's licence (GPL-2.0) binds what is loaded into it; the MIT licence goes with that.
#define _GNU_SOURCE
#include "lockstep.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

struct side *me;
struct side *open_side(const char *path, int *file);

static QEMUTimer timer;
static uint64_t due; // when the timer should run
static uint64_t next_border; // or, before the start, when it next says where the clock is
static uint64_t phases_known;
static int ties;
static bool stopping;

// ---- ends ----

static void tell(uint32_t state)
{
    if (!me) return;
    atomic_store(&me->state, state);
    for each_port (p)
        if (p->peer) ring(p->peer);
}

void fail(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("lockstep: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (me) me->cause = (uint32_t)code;
    tell(FAILED);
    _exit(code);
}

__attribute__((destructor)) static void ended(void) { tell(ENDED); }

// ---- events ----

// Lets the timer run when something is next to be done. A test of lateness lets it run too late once.
void arm(void)
{
    due = next_border;
    for each_port (p) due = least(due, least(first_arrival(p), least(press_due(p), p->phase_due)));
    uint64_t fault = get(&me->fault_late), late = fault && due == next_border && due >= fault ? 1000 : 0;
    if (late) set(&me->fault_late, 0);
    timer_mod_ns(&timer, (int64_t)(due + late));
}

// False if the machine stops here.
static bool border(uint64_t now)
{
    set(&me->now, now);
    if (now < me->start) {
        next_border = least(me->start, now + 50000000);
        return true;
    }
    if (now - next_border >= (uint64_t)icount_to_ns(1)) count(&me->late_borders, 1);
    count(&me->borders, 1);
    for each_port (p) publish(p, now);
    bool stop = now >= atomic_load(&me->stop_at), leaving = stop && inside_guest();
    if (stop && !leaving) {
        next_border = now;
        stopping = true;
        vm_stop(RUN_STATE_PAUSED);
        return false;
    }
    next_border = wait_for_others(now, leaving);
    uint64_t generators = atomic_load(&me->generators);
    if (generators != phases_known) {
        phases_known = generators;
        read_phases();
    }
    return true;
}

static void on_event(void *unused)
{
    uint64_t now = (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    // The machine's own timers of the same nanosecond come first, whenever each was set.
    if (qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL, TIMER_ATTR_ALL) == 0 && ties++ < 8) {
        timer_mod_ns(&timer, (int64_t)due);
        return;
    }
    ties = 0;
    if (now >= next_border && !border(now)) return;
    deliver(now);
    press(now);
    generate(now);
    arm();
}

static void on_state(void *unused, bool running, int state)
{
    if (!running) {
        if (stopping) tell(STOPPED);
        return;
    }
    stopping = false;
    next_border = (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    read_phases();
    atomic_store(&me->state, RUNNING);
    due = next_border;
    timer_mod_ns(&timer, (int64_t)due);
}

// ---- the beginning ----

static void on_ready(Notifier *unused, void *nothing)
{
    if (!use_icount) fail(MISUSED, "the emulator's clock isn't virtual; start it with -icount shift=N,sleep=off");
    connect_ports();
    timer_init_full(&timer, NULL, QEMU_CLOCK_VIRTUAL, 1, 0, on_event, NULL);
    qemu_add_vm_change_state_handler(on_state, NULL);
}

static Notifier ready = { .notify = on_ready };

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    pin();
    const char *path = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "side=", 5)) fail(MISUSED, "an unknown option: %s", argv[i]);
        path = argv[i] + 5;
    }
    if (!path) fail(MISUSED, "its option side=FILE is missing");
    int file;
    struct side *side = open_side(path, &file);
    // Held as long as this process lives: others see by it that the side is there.
    if (flock(file, LOCK_EX | LOCK_NB)) {
        usleep(100000); // another side may have looked at it just now
        if (flock(file, LOCK_EX | LOCK_NB)) fail(MISUSED, "%s belongs to another process", path);
    }
    me = side;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    open_ports(dirname(folder));
    atomic_store(&me->state, RUNNING);
    qemu_add_machine_init_done_notifier(&ready);
    return 0;
}
