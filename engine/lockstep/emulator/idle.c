// SPDX-License-Identifier: MIT
// Idling in the vCPU's own thread, and the cure of VMRUN.
#include "lockstep.h"

// Sets the virtual clock forward, as icount_start_warp_timer() does: accel/tcg/icount-common.c, TimersState.
static void advance(int64_t nanoseconds)
{
    _Atomic uint32_t *sequence = (void *)(timers_state + 0x10);
    _Atomic int32_t *lock = (void *)(timers_state + 0x14);
    _Atomic int64_t *bias = (void *)(timers_state + 0x28);
    while (atomic_exchange(lock, 1)) __builtin_ia32_pause();
    atomic_fetch_add(sequence, 1);
    atomic_store(bias, atomic_load(bias) + nanoseconds);
    atomic_fetch_add(sequence, 1);
    atomic_store(lock, 0);
    count(&me->idle, (uint64_t)nanoseconds);
}

// Called by the vCPU's thread, with the BQL, when all processors idle, in place of qemu_notify_event(). QEMU would let the
// main loop set the clock forward. That may happen before the vCPU's last instructions are counted, and then counts some
// hundred nanoseconds twice: rare, but from there on a run isn't reproducible.
void idle(void)
{
    int same_time = 0, steps = 0;
    void *cpu;
    for (int i = 0; (cpu = qemu_get_cpu(i)); i++) {
        if (cpu_is_stopped(cpu)) {
            qemu_notify_event();
            return;
        }
    }
    while (runstate_is_running() && all_cpu_threads_idle()) {
        int64_t deadline = qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL, TIMER_ATTR_ALL);
        if (deadline < 0) break;
        if (deadline > 0) {
            same_time = 0;
            advance(deadline);
        } else if (++same_time > 64) { // a timer of another thread's list
            qemu_clock_notify(QEMU_CLOCK_VIRTUAL);
            break;
        }
        qemu_clock_run_timers(QEMU_CLOCK_VIRTUAL);
        if (++steps % 64 == 0) { // the main loop's turn
            bql_unlock();
            bql_lock_impl("lockstep", 0);
        }
    }
}

// The environments of processors that had guests.
static void *environments[64];

// helper_vmrun() (target/i386/tcg/system/svm_helper.c) that injects an interrupt leaves its vector in exception_index.
// When the loop must be left next, at any virtual timer, the vector is taken for a new exception and delivered a second
// time, whatever the guest's interrupt flag says. VMRUN ends its block anyway, so the loop is entered anew, which clears it.
void vmrun(void *env, int aflag, int next_eip)
{
    for (int i = 0; i < 64 && environments[i] != env; i++) {
        if (!environments[i]) {
            environments[i] = env;
            break;
        }
    }
    count(&me->vmruns, 1);
    helper_vmrun(env, aflag, next_eip);
    cpu_loop_exit_noexc(current_cpu);
}

// Whether a processor is inside a guest of this machine's own: env->hflags, HF_GUEST_MASK.
bool inside_guest(void)
{
    for (int i = 0; i < 64 && environments[i]; i++)
        if (*(uint32_t *)((char *)environments[i] + 0xb0) & (1u << 21)) return true;
    return false;
}
