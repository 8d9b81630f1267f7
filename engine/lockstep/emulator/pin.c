// SPDX-License-Identifier: MIT
// The library changes four places of the emulator and uses layouts that no header promises. It therefore knows each
// emulator that it works in by build id, and looks at the very bytes besides.
#define _GNU_SOURCE
#include "lockstep.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct build {
    const char *name;
    uint8_t id[20];
    // In rr_cpu_thread_fn (accel/tcg/tcg-accel-ops-rr.c), which isn't exported: the call of qemu_notify_event() when all
    // processors idle, from rr_kick_vcpu_thread; and that of all_cpu_threads_idle() before it.
    int notify_call, idle_call;
    // In icount_start_warp_timer(): where the clock is set forward.
    int warp;
    // In helper_vmrun(): env->hflags |= HF_GUEST_MASK.
    int guest_flag;
    // In qemu_flush_queued_packets(), each time a guest gives its NIC room: the call of qemu_notify_event() for
    // the hub, and the jump there for the queue.
    int hub_call, queue_jump;
};

static const struct build known_builds[] = {
    { "QEMU 10.0.13 of Debian 13, 1:10.0.13+ds-0+deb13u1",
      { 0xe5, 0x58, 0x8a, 0x4a, 0xe9, 0xdc, 0x72, 0x4c, 0xe1, 0x82, 0xd9, 0xd2, 0x42, 0x10, 0x89, 0xe0, 0x66, 0x8f, 0xd1, 0xbd },
      -0x21d, -0x226, 0x98, 0x447, 0x49, 0x39 },
};

struct id {
    uint8_t bytes[20];
    size_t length;
};

static int program_id(struct dl_phdr_info *info, size_t size, void *to)
{
    struct id *id = to;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_NOTE) continue;
        const char *at = (const char *)info->dlpi_addr + header->p_vaddr, *end = at + header->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const void *)at;
            const char *name = at + sizeof *note, *value = name + ((note->n_namesz + 3) & ~3u);
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && !memcmp(name, "GNU", 4)) {
                id->length = note->n_descsz;
                memcpy(id->bytes, value, note->n_descsz < 20 ? note->n_descsz : 20);
                return 1;
            }
            at = value + ((note->n_descsz + 3) & ~3u);
        }
    }
    return 1; // only the program, which comes first
}

static const struct build *this_build(void)
{
    struct id id = { .length = 0 };
    dl_iterate_phdr(program_id, &id);
    for (size_t i = 0; i < sizeof known_builds / sizeof *known_builds; i++)
        if (id.length == 20 && !memcmp(id.bytes, known_builds[i].id, 20)) return &known_builds[i];
    char text[41] = "none";
    for (size_t i = 0; i < 20 && id.length; i++) sprintf(text + 2 * i, "%02x", id.bytes[i]);
    fail(REFUSED, "this emulator's build id is %s; this library works only in %s. Use the emulator of vexp's image", text, known_builds[0].name);
}

static void must(bool holds, const char *what)
{
    if (!holds) fail(REFUSED, "the emulator has a known build id, but not the code that belongs to it: %s", what);
}

// Whether the instruction at `at` begins with `code` and then names `target` relative to its own end.
static bool refers(const uint8_t *at, const char *code, size_t length, const void *target)
{
    int32_t distance;
    memcpy(&distance, at + length, 4);
    return !memcmp(at, code, length) && at + length + 4 + distance == (const uint8_t *)target;
}

// The code of a function, as bytes of which the compiler knows nothing.
static uint8_t *code_of(void *function)
{
    uint8_t *code = function;
    __asm__("" : "+r"(code));
    return code;
}

static void look(const struct build *build)
{
    const uint8_t *loop = code_of(rr_kick_vcpu_thread), *warp = code_of(icount_start_warp_timer);
    must(refers(loop + build->idle_call, "\xe8", 1, all_cpu_threads_idle), "the vCPU's loop asks whether all idle");
    must(refers(loop + build->notify_call, "\xe8", 1, qemu_notify_event), "the vCPU's loop wakes the main loop");
    must(!memcmp(warp, "\xf3\x0f\x1e\xfa\x8b\x05", 6), "icount_start_warp_timer begins");
    const uint8_t *at = warp + build->warp;
    must(!memcmp(at, "\x89\xca", 2) && refers(at + 2, "\x87\x15", 2, timers_state + 0x14), "the clock's lock");
    must(refers(at + 12, "\x8b\x0d", 2, timers_state + 0x10) && refers(at + 21, "\x89\x15", 2, timers_state + 0x10), "the clock's sequence");
    must(refers(at + 27, "\x48\x03\x05", 3, timers_state + 0x28) && refers(at + 34, "\x48\x89\x05", 3, timers_state + 0x28), "the clock's bias");
    must(!memcmp(code_of(helper_vmrun) + build->guest_flag, "\x81\x8b\xb0\x00\x00\x00\x00\x00\x20\x00", 10), "the flag of a guest");
    const uint8_t *flush = code_of(qemu_flush_queued_packets);
    must(refers(flush + build->hub_call, "\xe8", 1, qemu_notify_event), "a hub's flush wakes the main loop");
    must(refers(flush + build->queue_jump, "\xe9", 1, qemu_notify_event), "a queue's flush wakes the main loop");
    must(helper_info_vmrun[0] == (void *)helper_vmrun, "VMRUN's helper");
}

// Gives the page of `at` and the one after it another protection.
static void open_pages(void *at, int protection)
{
    void *page = (void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
    if (mprotect(page, 2 * PAGE, protection)) fail(REFUSED, "the emulator's code can't be changed: %s", strerror(errno));
}

// A page near `code` with a jump to `target`: a call reaches 2 GB, and libraries lie further away.
static uint8_t *trampoline(uint8_t *code, void *target)
{
    uintptr_t near = (uintptr_t)code & ~(uintptr_t)(PAGE - 1);
    for (uintptr_t at = near + (64u << 20); at < near + (1u << 30); at += 16u << 20) {
        uint8_t *page = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (page == MAP_FAILED) continue;
        if (page != (uint8_t *)at) {
            munmap(page, PAGE);
            continue;
        }
        memcpy(page, "\xff\x25\0\0\0\0", 6); // jmp *0(%rip)
        memcpy(page + 6, &target, 8);
        if (mprotect(page, PAGE, PROT_READ | PROT_EXEC)) break;
        return page;
    }
    fail(REFUSED, "no memory for a jump near the emulator's code: %s", strerror(errno));
}

static void change(const struct build *build)
{
    // All processors idle: idle() goes on in the vCPU's own thread ...
    uint8_t *call = code_of(rr_kick_vcpu_thread) + build->notify_call;
    int32_t distance = (int32_t)(trampoline(call, (void *)idle) - (call + 5));
    open_pages(call, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(call + 1, &distance, 4);
    open_pages(call, PROT_READ | PROT_EXEC);
    // ... and the main loop, whose view of the clock may be stale, no longer sets it forward: this returns at once.
    uint8_t *warp = code_of(icount_start_warp_timer) + 4;
    open_pages(warp, PROT_READ | PROT_WRITE | PROT_EXEC);
    *warp = 0xc3;
    open_pages(warp, PROT_READ | PROT_EXEC);
    // A flushed queue would wake the main loop, so that it polls the sockets of networks again. There are none here, and
    // its thread takes the BQL from the vCPU's each time: a sixth of what forwarding costs.
    uint8_t *flush = code_of(qemu_flush_queued_packets);
    open_pages(flush, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(flush + build->hub_call, "\x0f\x1f\x44\0\0", 5);
    flush[build->queue_jump] = 0xc3;
    open_pages(flush, PROT_READ | PROT_EXEC);
    open_pages(helper_info_vmrun, PROT_READ | PROT_WRITE);
    helper_info_vmrun[0] = (void *)vmrun;
}

void pin(void)
{
    const struct build *build = this_build();
    look(build);
    change(build);
}
