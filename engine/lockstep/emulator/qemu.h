// SPDX-License-Identifier: MIT
// What the library uses of QEMU: symbols that the executable exports, and layouts that pin.c ties to known builds.
#ifndef QEMU_H
#define QEMU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct NetClientState NetClientState;
// The first members of net/net.h's.
typedef struct {
    int type;
    size_t size;
    ssize_t (*receive)(NetClientState *, const uint8_t *, size_t);
    void *receive_iov;
    bool (*can_receive)(NetClientState *);
    void *rest[32];
} NetClientInfo;

// More room than the real one takes.
typedef struct {
    int64_t room[16];
} QEMUTimer;

typedef struct Notifier {
    void (*notify)(struct Notifier *, void *);
    void *node[2];
} Notifier;

enum { QEMU_CLOCK_VIRTUAL = 1, TIMER_ATTR_ALL = -1, RUN_STATE_PAUSED = 4, MEMOP_32 = 2 };

extern void timer_init_full(QEMUTimer *, void *, int, int, int, void (*)(void *), void *);
extern void timer_mod_ns(QEMUTimer *, int64_t);
extern int64_t qemu_clock_get_ns(int);
extern int64_t qemu_clock_deadline_ns_all(int, int);
extern bool qemu_clock_run_timers(int);
extern void qemu_clock_notify(int);
extern NetClientState *qemu_new_net_client(NetClientInfo *, NetClientState *, const char *, const char *);
extern NetClientState *net_hub_add_port(int, const char *, NetClientState *);
extern ssize_t qemu_send_packet(NetClientState *, const uint8_t *, int);
extern int qemu_can_send_packet(NetClientState *);
extern void qemu_add_machine_init_done_notifier(Notifier *);
extern void *qemu_add_vm_change_state_handler(void (*)(void *, bool, int), void *);
extern int vm_stop(int);
extern bool runstate_is_running(void);
extern bool all_cpu_threads_idle(void);
extern bool cpu_is_stopped(void *);
extern void *qemu_get_cpu(int);
extern void bql_unlock(void), bql_lock_impl(const char *, int);
extern void *object_resolve_path_component(void *, const char *), *object_resolve_path(const char *, bool *);
extern int memory_region_dispatch_read(void *, uint64_t, uint64_t *, int, uint64_t);
extern int memory_region_dispatch_write(void *, uint64_t, uint64_t, int, uint64_t);
extern int use_icount;
extern int64_t icount_to_ns(int64_t);
// Looked into and changed by pin.c and idle.c.
extern void icount_start_warp_timer(void), rr_kick_vcpu_thread(void *), qemu_notify_event(void);
extern void qemu_flush_queued_packets(NetClientState *);
extern char timers_state[];
extern void *helper_info_vmrun[];
extern void helper_vmrun(void *env, int aflag, int next_eip);
extern void cpu_loop_exit_noexc(void *cpu) __attribute__((noreturn));
extern __thread void *current_cpu;

#endif
