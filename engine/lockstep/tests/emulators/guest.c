// SPDX-License-Identifier: MIT
// For tests: a guest under /dev/kvm that counts the ticks of its timer, and those that come while its interrupts are off.
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

extern const char guest_begin[], guest_end[];
__asm__(".pushsection .rodata\n"
        ".code16\n"
        "guest_begin:\n"
        "  xorw %ax, %ax\n  movw %ax, %ds\n  movw %ax, %ss\n  movw $0x8000, %sp\n"
        // The timer's interrupt is vector 8; its handler is at 0x1000 + (handler - guest_begin).
        "  movw $(0x1000 + handler - guest_begin), 32\n  movw $0, 34\n"
        // The interrupt controller: vectors from 8 on, only the timer is let through. The timer: 1 kHz.
        "  movb $0x11, %al\n  outb %al, $0x20\n  movb $8, %al\n  outb %al, $0x21\n  movb $4, %al\n  outb %al, $0x21\n"
        "  movb $1, %al\n  outb %al, $0x21\n  movb $0xfe, %al\n  outb %al, $0x21\n"
        "  movb $0x34, %al\n  outb %al, $0x43\n  movb $0xa9, %al\n  outb %al, $0x40\n  movb $4, %al\n  outb %al, $0x40\n"
        "  sti\n"
        "1: incl 0x500\n  jmp 1b\n"
        // A processor doesn't enter it a second time, since interrupts are off in it: for some 100 microseconds.
        "handler:\n"
        "  cmpb $0, 0x510\n  jne 2f\n"
        "  movb $1, 0x510\n  incl 0x520\n"
        "  movw $50000, %cx\n3: loop 3b\n"
        "  movb $0x20, %al\n  outb %al, $0x20\n  movb $0, 0x510\n  iret\n"
        "2: incl 0x530\n  iret\n"
        "guest_end:\n"
        ".code64\n"
        ".popsection\n");

static void must(int result, const char *what)
{
    if (result >= 0) return;
    perror(what);
    exit(1);
}

static void nothing(int signal) {}

int main(int argc, char **argv)
{
    int kvm = open("/dev/kvm", O_RDWR), rounds = argc > 1 ? atoi(argv[1]) : 5;
    must(kvm, "/dev/kvm");
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    must(vm, "KVM_CREATE_VM");
    must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    struct kvm_pit_config pit = { 0 };
    must(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
    uint8_t *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(memory + 0x1000, guest_begin, (size_t)(guest_end - guest_begin));
    struct kvm_userspace_memory_region region = { .memory_size = 0x10000, .userspace_addr = (uint64_t)memory };
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    must(cpu, "KVM_CREATE_VCPU");
    size_t size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    must(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0) == MAP_FAILED ? -1 : 0, "mmap");
    struct kvm_sregs special;
    must(ioctl(cpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
    special.cs.base = special.cs.selector = 0;
    must(ioctl(cpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
    struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
    must(ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    struct sigaction act = { .sa_handler = nothing };
    sigaction(SIGALRM, &act, NULL);
    struct itimerval every = { { 0, 100000 }, { 0, 100000 } };
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < rounds; i++) {
        ioctl(cpu, KVM_RUN, 0); // until the signal
        printf("guest: loops %u ticks %u bogus %u\n", *(uint32_t *)(memory + 0x500), *(uint32_t *)(memory + 0x520), *(uint32_t *)(memory + 0x530));
        fflush(stdout);
    }
    printf("guest: over\n");
    return 0;
}
