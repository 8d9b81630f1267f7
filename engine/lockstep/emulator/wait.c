// SPDX-License-Identifier: MIT
// Promises and waits.
//
// At a border a side says what it promises to each neighbour and waits until each has promised all that arrives before the
// next border. A side whose processors idle and whose next event is at T promises nothing before T unless it is sent
// something; it sleeps lazily, until T is known to be free, unless a neighbour can't go on without it.
#define _GNU_SOURCE
#include "lockstep.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 500 };

static uint64_t real_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void ring(struct side *side)
{
    atomic_fetch_add(&side->bell, 1);
    syscall(SYS_futex, &side->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void ring_sleeper(struct port *p)
{
    if (!atomic_load(&p->peer->asleep)) return;
    p->rung = get(&p->tx->head);
    ring(p->peer);
}

// Nothing that this side sends from `from` on arrives before this.
static uint64_t arrival(struct port *p, uint64_t from)
{
    return most(from, get(&p->tx->wire_free)) + serialisation(p, 0) + p->delay;
}

void publish(struct port *p, uint64_t from)
{
    struct channel *c = p->tx;
    uint64_t horizon = arrival(p, from);
    if (horizon > get(&c->horizon)) atomic_store(&c->horizon, horizon);
    if (p->rung != get(&c->head) || horizon >= atomic_load(&c->want)) ring_sleeper(p);
}

// Every frame that arrives here before this is in the ring.
static uint64_t known(struct port *p)
{
    struct channel *c = p->rx;
    uint64_t promise = atomic_load(&c->promise), seen = atomic_load(&c->promise_seen), again = atomic_load(&c->promise);
    uint64_t horizon = atomic_load(&c->horizon);
    return promise == again && seen == get(&p->tx->head) ? most(promise, horizon) : horizon;
}

// What the peer knows of this side's frames, as `known` is there.
uint64_t known_there(struct port *p)
{
    struct channel *c = p->tx;
    uint64_t horizon = get(&c->horizon);
    return get(&c->promise_seen) == atomic_load(&p->rx->head) ? most(get(&c->promise), horizon) : horizon;
}

struct view {
    uint64_t known; // all links' frames before this are here
    uint64_t need; // the least that is worth going on for
    uint64_t target; // where this side has something to do
    bool lazy;
};

// When this side does something by itself.
static uint64_t own_event(uint64_t now)
{
    int64_t deadline = qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL, TIMER_ATTR_ALL); // without ours, which runs
    uint64_t own = deadline < 0 ? now + 1000000000 : now + (uint64_t)deadline;
    for each_port (p) own = least(own, least(press_due(p), p->phase_due));
    return own;
}

static void promise(struct port *p, uint64_t act, uint64_t seen)
{
    struct channel *c = p->tx;
    uint64_t value = arrival(p, act);
    if (value <= get(&c->horizon) || (value == get(&c->promise) && seen == get(&c->promise_seen))) return;
    atomic_store(&c->promise, 0);
    atomic_store(&c->promise_seen, seen);
    atomic_store(&c->promise, value);
    if (value >= atomic_load(&c->want)) ring_sleeper(p);
}

static struct view survey(uint64_t now, bool idle, bool leaving)
{
    uint64_t grain = (uint64_t)icount_to_ns(1), own = idle ? own_event(now) : now, first = NEVER, seen[LINKS];
    struct view v = { .known = NEVER, .lazy = idle && !leaving };
    for (int i = 0; i < port_count; i++) {
        struct port *p = &ports[i];
        p->known = known(p);
        seen[i] = atomic_load(&p->rx->head);
        p->first = first_arrival(p);
        first = least(first, p->first);
        v.known = least(v.known, p->known);
    }
    for (int i = 0; i < port_count && idle; i++) {
        uint64_t act = least(own, first);
        for each_port (other)
            if (other != &ports[i]) act = least(act, other->known);
        if (act > now) promise(&ports[i], act, seen[i]);
    }
    // The clock goes in steps of `grain`, and may pass the next border by less than one.
    v.known -= grain - 1;
    v.need = now + (leaving ? 1000 : me->quantum);
    v.target = idle && !leaving ? most(v.need, least(own, first)) : v.need;
    uint64_t stop = atomic_load(&me->stop_at);
    if (stop > now) v.need = least(v.need, stop), v.target = least(v.target, stop);
    for each_port (p)
        if (atomic_load(&p->tx->blocked) && atomic_load(&p->tx->want) > known_there(p)) v.lazy = false;
    return v;
}

static bool enough(const struct view *v) { return v->known >= v->target || (v->known >= v->need && !v->lazy); }

// ---- sleeping ----

// Sleeps until somebody rings, a tenth of a second at most.
static void doze(uint64_t now, const struct view *v, bool idle, bool leaving)
{
    uint32_t bell = atomic_load(&me->bell);
    bool blocked = v->known < v->need;
    uint64_t goal = blocked ? v->need : v->target, grain = (uint64_t)icount_to_ns(1);
    for each_port (p) {
        bool missing = p->known < goal + grain - 1;
        atomic_store(&p->rx->want, missing ? goal + grain - 1 : NEVER);
        atomic_store(&p->rx->blocked, missing && blocked);
    }
    atomic_store(&me->asleep, 1);
    struct view again = survey(now, idle, leaving);
    if (!enough(&again) && again.lazy == v->lazy && again.target == v->target) {
        for each_port (p)
            if (blocked && p->known < goal + grain - 1) ring_sleeper(p);
        struct timespec tenth = { 0, 100000000 };
        count(&me->sleeps, 1);
        syscall(SYS_futex, &me->bell, FUTEX_WAIT, bell, &tenth, NULL, 0);
    }
    atomic_store(&me->asleep, 0);
    for each_port (p) {
        atomic_store(&p->rx->want, NEVER);
        atomic_store(&p->rx->blocked, 0);
    }
}

// The link that it waits for, and a number that changes with all that the side at its end does.
static struct port *missing(uint64_t need, uint64_t *trace)
{
    struct port *first = NULL;
    *trace = 0;
    for each_port (p) {
        if (known(p) >= need) continue;
        if (!first) first = p;
        *trace += get(&p->peer->now) + get(&p->peer->borders) + get(&p->peer->waits) + get(&p->rx->horizon) + p->peer->state;
    }
    return first;
}

// Leaves if the side that is waited for won't come.
static void check_peer(struct port *p, uint64_t now)
{
    uint32_t state = p->peer->state;
    bool held = flock(p->peer_file, LOCK_SH | LOCK_NB) != 0;
    if (!held) flock(p->peer_file, LOCK_UN);
    double at = (double)now / 1e9;
    if (state == ENDED || state == FAILED) fail(ABANDONED, "%s left the lockstep; this side waited for it at %.6f s", p->name, at);
    if ((state == RUNNING || state == STOPPED) && !held) fail(ABANDONED, "%s died; this side waited for it at %.6f s", p->name, at);
}

// Whether vexp does something else than waiting: then whatever stands still may stand still because of that.
static bool vexp_is_away(void)
{
    for each_port (p)
        if (!strcmp(p->name, "vexp")) return !atomic_load(&p->peer->attending);
    return false;
}

uint64_t wait_for_others(uint64_t now, bool leaving)
{
    bool idle = all_cpu_threads_idle();
    struct view v = survey(now, idle, leaving);
    if (enough(&v)) return least(v.known, v.target);
    uint64_t began = real_time(), looked = began, changed = began, last = 0, trace;
    count(&me->waits, 1);
    for (int i = 0; i < SPINS && v.known < v.need; i++) {
        __builtin_ia32_pause();
        v = survey(now, idle, leaving);
    }
    while (!enough(&v)) {
        doze(now, &v, idle, leaving);
        v = survey(now, idle, leaving);
        uint64_t clock = real_time();
        if (clock - looked < 90000000) continue;
        looked = clock;
        bool content = v.known >= v.need; // it could go on, and sleeps because it idles
        if (leaving && !content) me->cause = INSIDE_GUEST;
        struct port *p = missing(content ? v.target : v.need, &trace);
        if (!p) continue;
        check_peer(p, now);
        if (content) {
            changed = clock;
            continue;
        }
        if (trace != last || vexp_is_away()) last = trace, changed = clock;
        if ((clock - changed) / 1000000 >= me->patience)
            fail(ABANDONED, "%s made no progress for %lu s of real time; it is known to %.6f s, and this side waited for it at %.6f s", p->name,
                 (unsigned long)(me->patience / 1000), (double)known(p) / 1e9, (double)now / 1e9);
    }
    if (leaving) me->cause = 0;
    count(&me->waited, real_time() - began);
    return least(v.known, v.target);
}
