//! System calls of a traffic peer: its kernel is that of this computer, and what no traffic generator, monitor or
//! SSH server needs is refused before it gets there (seccomp(2)).

use libc::{c_long, sock_filter, sock_fprog};

/// Calls that are refused: they change the kernel, its mounts, its clocks or its keys, look into other processes, or
/// reach parts of it in which faults are found often.
const REFUSED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_modify_ldt,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vmsplice,
];
/// Calls that the C library does without where they are not there. What `clone3` is told can't be looked at.
const MISSING: &[c_long] = &[libc::SYS_clone3];
/// The newest call that is known here (`mseal`, Linux 6.10): those after it are not there, either.
const NEWEST: u32 = 462;
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
    // Those of the x32 ABI, which have a high bit set, too.
    program.end_if(libc::BPF_JGT, NEWEST, refuse(libc::ENOSYS));
    for call in MISSING {
        program.end_if(libc::BPF_JEQ, number(*call), refuse(libc::ENOSYS));
    }
    for call in REFUSED {
        program.end_if(libc::BPF_JEQ, number(*call), refuse(libc::EPERM));
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
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let families = FAMILIES.map(i32::unsigned_abs);
        program.only_for(call, 2 + 2 * 5);
        program.load(FIRST);
        for family in families {
            program.end_if(libc::BPF_JEQ, family, ALLOW);
        }
        program.end(refuse(libc::EAFNOSUPPORT));
    }
    program.end(ALLOW);
    program.0
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
