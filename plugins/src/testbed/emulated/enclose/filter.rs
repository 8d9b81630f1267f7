//! System calls of a traffic peer: its kernel is that of this computer, and it gets only those that traffic generators,
//! monitors, shells and SSH servers need (seccomp(2)).

use libc::{c_long, sock_filter, sock_fprog};

/// Calls that are allowed whatever their arguments are: what C libraries, shells, SSH servers, traffic generators
/// and monitors use. All of them are in the default of container engines, too (Moby's `profiles/seccomp/default.json`
/// for a container without capabilities). Of that default, these are left out, because no tool needs them: message
/// queues, semaphores and shared memory of System V and POSIX, asynchronous and `io_uring` input and output,
/// debugging (`ptrace`, `process_vm_readv`), handles of files, clocks, protection keys, `vmsplice`.
const ALLOWED: &[c_long] = &[
    // Files and folders, and waiting for their changes.
    libc::SYS_access,
    libc::SYS_chdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_creat,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futimesat,
    libc::SYS_getcwd,
    libc::SYS_getdents,
    libc::SYS_getdents64,
    libc::SYS_getxattr,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_lchown,
    libc::SYS_lgetxattr,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lseek,
    libc::SYS_lsetxattr,
    libc::SYS_lstat,
    libc::SYS_memfd_create,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_removexattr,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rmdir,
    libc::SYS_sendfile,
    libc::SYS_setxattr,
    libc::SYS_splice,
    libc::SYS_stat,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_tee,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_utime,
    libc::SYS_utimensat,
    libc::SYS_utimes,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_munmap,
    // Processes, threads, and what they are.
    libc::SYS_arch_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fork,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpgrp,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_kill,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setrlimit,
    libc::SYS_setsid,
    libc::SYS_setuid,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_uname,
    libc::SYS_vfork,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Signals and time.
    libc::SYS_alarm,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_pause,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setitimer,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd,
    libc::SYS_signalfd4,
    libc::SYS_time,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Waiting for many, the network, random numbers.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_epoll_create,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_eventfd2,
    libc::SYS_getpeername,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_select,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];
/// Calls that the C library does without where they are not there. What `clone3` is told can't be looked at.
const MISSING: &[c_long] = &[libc::SYS_clone3];
/// The newest call that is known here (`fchmodat2`, Linux 6.6): those after it are not there, either.
const NEWEST: u32 = 452;
/// Families of sockets: local ones, IP, and those by which networks are set up and looked at.
const FAMILIES: [i32; 5] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];
/// What puts words into a terminal's input.
const TERMINAL: [u32; 2] = [0x5412, 0x541c];
/// Execution domains (personality(2)): Linux's own, with addresses that are the same each time, and what asks
/// for the present one.
const DOMAINS: [u32; 3] = [0, 0x0004_0000, u32::MAX];
/// `CLONE_NEW…` of clone(2): all namespaces.
const NAMESPACES: u32 = 0x7e02_0000;

/// `AUDIT_ARCH_X86_64`; calls are those of this processor, or none.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Where `seccomp_data` has the call, the architecture, and the lower halves of its first arguments.
const CALL: u32 = 0;
const ARCH: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// What a call gives that is refused.
fn refuse(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
}

/// A program of the filter's machine (BPF), which jumps forward only.
#[derive(Default)]
struct Program(Vec<sock_filter>);

impl Program {
    fn add(&mut self, code: u32, k: u32, (jt, jf): (u8, u8)) {
        // All codes that are used have 16 bits.
        let code = u16::try_from(code).unwrap_or_default();
        self.0.push(sock_filter { code, jt, jf, k });
    }

    fn load(&mut self, at: u32) {
        self.add(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, (0, 0));
    }

    fn end(&mut self, with: u32) {
        self.add(libc::BPF_RET | libc::BPF_K, with, (0, 0));
    }

    /// Ends with `with` if the comparison `code` of what was loaded with `k` holds.
    fn end_if(&mut self, code: u32, k: u32, with: u32) {
        self.add(libc::BPF_JMP | code | libc::BPF_K, k, (0, 1));
        self.end(with);
    }

    /// Ends with `with` unless the comparison `code` of what was loaded with `k` holds.
    fn end_unless(&mut self, code: u32, k: u32, with: u32) {
        self.add(libc::BPF_JMP | code | libc::BPF_K, k, (1, 0));
        self.end(with);
    }

    /// Allows a call if its first argument is one of `values`; else it ends with `otherwise`.
    fn first_of<const N: usize>(&mut self, call: c_long, values: &[u32; N], otherwise: u32) {
        // As many as are added here; there are few.
        self.only_for(call, u8::try_from(2 + 2 * N).unwrap_or(u8::MAX));
        self.load(FIRST);
        for value in values {
            self.end_if(libc::BPF_JEQ, *value, ALLOW);
        }
        self.end(otherwise);
    }

    /// Skips the next `count` instructions unless the call is this one.
    fn only_for(&mut self, call: c_long, count: u8) {
        self.add(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            number(call),
            (0, count),
        );
    }
}

fn number(call: c_long) -> u32 {
    // Numbers of calls are small.
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn program() -> Vec<sock_filter> {
    let mut program = Program::default();
    program.load(ARCH);
    program.add(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        ARCHITECTURE,
        (1, 0),
    );
    program.end(KILL);
    program.load(CALL);
    for call in MISSING {
        program.end_if(libc::BPF_JEQ, number(*call), refuse(libc::ENOSYS));
    }
    program.only_for(libc::SYS_clone, 4);
    program.load(FIRST);
    program.end_if(libc::BPF_JSET, NAMESPACES, refuse(libc::EPERM));
    program.end(ALLOW);
    program.only_for(libc::SYS_ioctl, 6);
    program.load(SECOND);
    for request in TERMINAL {
        program.end_if(libc::BPF_JEQ, request, refuse(libc::EPERM));
    }
    program.end(ALLOW);
    // A peer has many sockets of few families.
    let families = FAMILIES.map(i32::unsigned_abs);
    program.first_of(libc::SYS_socket, &families, refuse(libc::EAFNOSUPPORT));
    program.first_of(libc::SYS_socketpair, &families, refuse(libc::EAFNOSUPPORT));
    program.first_of(libc::SYS_personality, &DOMAINS, refuse(libc::EPERM));
    for (first, last) in ranges(ALLOWED) {
        program.end_unless(libc::BPF_JGE, first, refuse(libc::EPERM));
        program.end_unless(libc::BPF_JGT, last, ALLOW);
    }
    // Those of the x32 ABI, which have a high bit set, too.
    program.end_if(libc::BPF_JGT, NEWEST, refuse(libc::ENOSYS));
    program.end(refuse(libc::EPERM));
    program.0
}

/// Numbers of calls in order, those that follow one another together: first and last.
fn ranges(calls: &[c_long]) -> Vec<(u32, u32)> {
    let mut numbers: Vec<u32> = calls.iter().map(|call| number(*call)).collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 >= number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Refuses this process, and all that it starts, such calls for ever. It must have `no_new_privs`.
///
/// # Errors
/// The kernel has no such filters.
pub(super) fn refuse_calls() -> std::io::Result<()> {
    let mut program = program();
    let len = u16::try_from(program.len()).map_err(std::io::Error::other)?;
    let program = sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    #[expect(
        unsafe_code,
        reason = "seccomp(2) takes a pointer, and no crate here has it"
    )]
    // SAFETY: the program is alive until the call returns, and the kernel copies it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use rustix::thread::{UnshareFlags, set_no_new_privs};

    /// Is set in the process that has the filter.
    const CHILD: &str = "VEXP_TEST_FILTER";

    /// What peers run, on the loopback, where it is installed.
    const TOOLS: &[&str] = &[
        "nice -n 1 true",
        "busybox sh -c 'mkfifo /tmp/vexp-fifo-$$ && rm /tmp/vexp-fifo-$$ && ls -lR /etc > /dev/null'",
        "netserver -p 15704 && sleep 1 && netperf -H 127.0.0.1 -p 15704 -l 1 && pkill -x netserver",
        "iperf -c 127.0.0.1 -p 15705 -t 1 & iperf -s -p 15705 -t 2 > /dev/null; wait $!",
        "chrt --batch 0 true",
        "ping -c 1 127.0.0.1",
        "ip link show lo",
        "ss --summary",
        "ethtool lo",
        "tc qdisc show dev lo",
        "sysctl net.ipv4.ip_forward",
        "vmstat 1 1",
        "iperf3 -s -1 -D -p 15701 && sleep 1 && iperf3 -c 127.0.0.1 -p 15701 -t 1 --zerocopy",
        "iperf3 -s -1 -D -p 15702 && sleep 1 && iperf3 -c 127.0.0.1 -p 15702 -t 1 --udp",
    ];

    fn tools() {
        for line in TOOLS {
            let name = line.split(' ').next().unwrap();
            let script = format!("command -v {name} > /dev/null || exit 77; {line}");
            let said = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            let said = said.unwrap();
            match said.status.code() {
                Some(77) => eprintln!("SKIPPED: {name} is not installed"),
                code => assert_eq!(code, Some(0), "{line}: {said:?}"),
            }
        }
    }

    /// What a call without arguments that mean anything ends with.
    fn called(call: u32) -> Option<i32> {
        #[expect(unsafe_code, reason = "calls by number")]
        // SAFETY: only calls that the filter refuses are made.
        let done = unsafe { libc::syscall(c_long::from(call), 0, 0, 0, 0, 0, 0) };
        (done == -1).then(|| std::io::Error::last_os_error().raw_os_error().unwrap())
    }

    fn every_other_call_is_refused() {
        let looked_at = [libc::SYS_clone, libc::SYS_ioctl, libc::SYS_personality];
        let sockets = [libc::SYS_socket, libc::SYS_socketpair];
        let known = [ALLOWED, MISSING, &looked_at, &sockets].concat();
        let known: Vec<u32> = known.into_iter().map(number).collect();
        // Kernels let 335 and 336 (`uretprobe`, `uprobe`) pass every filter: outside of a probe they are SIGILL.
        let others =
            (0..=NEWEST).filter(|call| !known.contains(call) && !(335..=336).contains(call));
        let mut refused = 0;
        for call in others {
            assert_eq!(called(call), Some(libc::EPERM), "{call}");
            refused += 1;
        }
        assert!(refused > 100, "{refused}");
        // Newer ones, those of the x32 ABI, and the one whose arguments can't be looked at.
        for call in [NEWEST + 1, 462, 1000, 0x4000_0000, number(libc::SYS_clone3)] {
            assert_eq!(called(call), Some(libc::ENOSYS), "{call}");
        }
    }

    /// In a process of its own, because the filter stays.
    fn filtered() {
        set_no_new_privs(true).unwrap();
        refuse_calls().unwrap();
        #[expect(deprecated, reason = "it is refused")]
        let unshared = rustix::thread::unshare(UnshareFlags::NEWUSER);
        assert_eq!(unshared, Err(Errno::PERM));
        let mounted = rustix::mount::mount(
            "none",
            "/tmp",
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None,
        );
        assert_eq!(mounted, Err(Errno::PERM));
        let socket = |family: i32| {
            let family = u16::try_from(family).unwrap();
            let family = rustix::net::AddressFamily::from_raw(family);
            rustix::net::socket(family, rustix::net::SocketType::DGRAM, None)
        };
        assert_eq!(socket(libc::AF_ALG).unwrap_err(), Errno::AFNOSUPPORT);
        assert_eq!(socket(libc::AF_VSOCK).unwrap_err(), Errno::AFNOSUPPORT);
        every_other_call_is_refused();
        // What tools do goes on: programs, threads, pipes, sockets.
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            socket(family).unwrap();
        }
        std::thread::spawn(|| ()).join().unwrap();
        let said = std::process::Command::new("sh")
            .args([
                "-c",
                "unshare --user true || exec grep Seccomp: /proc/self/status",
            ])
            .output()
            .unwrap();
        assert_eq!(said.stdout, b"Seccomp:\t2\n", "{said:?}");
        tools();
    }

    #[test]
    fn a_peer_s_calls_are_filtered_and_its_tools_run() {
        if std::env::var_os(CHILD).is_some() {
            return filtered();
        }
        let name = "testbed::emulated::enclose::filter::tests::a_peer_s_calls_are_filtered_and_its_tools_run";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{child:?}"
        );
    }

    #[test]
    fn jumps_of_the_filter_stay_inside_of_it() {
        let program = program();
        for (at, step) in program.iter().enumerate() {
            let furthest = at + 1 + usize::from(step.jt.max(step.jf));
            assert!(furthest < program.len() || step.code == 6, "{at}");
        }
        assert!(program.len() < 4096);
    }
}
