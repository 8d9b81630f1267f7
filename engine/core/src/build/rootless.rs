//! Builds without root: in a user namespace whose only user is the one who builds.
//!
//! There dpkg and the packages' scripts are root, but every file is this user's, and the kernel lets nobody give one to
//! another. So a filter (seccomp(2)) answers calls that would change an owner with "done". An image loses nothing by it:
//! all of its files are root's, whoever builds it (`images/common/build.sh`).

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use libc::{c_long, sock_filter, sock_fprog};

use super::BuildError;
use super::command::{CommandError, contained, run};

/// The calls that change owners, on this computer's processor.
const CHOWN: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
];

/// Calls have other numbers in programs for another processor, e.g. of 32 bits (`linux/audit.h`).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Where a filter finds number and architecture: `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// A filter's statement, or a jump over the next `no` statements unless the value is `k`.
fn statement(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0)
}

fn jump(code: u32, k: u32, no: u8) -> sock_filter {
    sock_filter {
        // Codes of BPF are below 256.
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: no,
        k,
    }
}

/// `chown` and its kin do nothing and say that it is done; everything else is let through.
fn filter() -> Vec<sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const END: u32 = libc::BPF_RET | libc::BPF_K;
    let mut filter = vec![
        statement(LOAD, ARCH),
        jump(EQUAL, ARCHITECTURE, 1),
        statement(LOAD, NUMBER),
    ];
    for call in CHOWN {
        let number = u32::try_from(*call).unwrap_or(u32::MAX);
        filter.push(jump(EQUAL, number, 1));
        filter.push(statement(END, libc::SECCOMP_RET_ERRNO));
    }
    filter.push(statement(END, libc::SECCOMP_RET_ALLOW));
    filter
}

/// In this program, and in all that it starts, no file changes its owner, and calls that would do it succeed.
pub(super) fn owners_are_ignored(command: &mut Command) {
    let mut filter = filter();
    let install = move || {
        rustix::thread::set_no_new_privs(true)?;
        let program = sock_fprog {
            len: u16::try_from(filter.len()).unwrap_or_default(),
            filter: filter.as_mut_ptr(),
        };
        #[expect(
            unsafe_code,
            reason = "seccomp(2) takes a pointer, and no crate here has it"
        )]
        // SAFETY: the filter lives as long as this closure, and the kernel copies it.
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
    };
    #[expect(unsafe_code, reason = "the filter must be there before the program is")]
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(install);
    }
}

/// Finds out by trying whether builds can have their namespaces: on some systems one is made and can do nothing.
///
/// # Errors
/// What was tried and how it ended, with what would help here.
pub(super) fn possible(log: &Path) -> Result<(), BuildError> {
    const SCRIPT: &str = "mount -t tmpfs tmpfs /mnt && touch /mnt/file && chown 0:42 /mnt/file";
    let mut command = contained("sh");
    command.args(["-c", SCRIPT]);
    run("try a namespace", &mut command, log).map_err(|source: Box<CommandError>| {
        BuildError::NoNamespaces {
            advice: advice(&|path| std::fs::read_to_string(path).ok()),
            source,
        }
    })
}

/// What keeps user namespaces from an ordinary user: a file, its value, and the way out. The first that holds is said.
const REASONS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "they are switched off (user.max_user_namespaces = 0): `sudo sysctl user.max_user_namespaces=15000`, or run it \
         with sudo",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "they are switched off (kernel.unprivileged_userns_clone = 0): `sudo sysctl kernel.unprivileged_userns_clone=1`, \
         or run it with sudo",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor makes them powerless (kernel.apparmor_restrict_unprivileged_userns = 1, as on Ubuntu since 24.04): \
         install vexp's Debian package, which has a profile, or run it with sudo",
    ),
];

/// `read` gives a file's text.
fn advice(read: &dyn Fn(&str) -> Option<String>) -> &'static str {
    let holds = |(path, value, _): &&(&str, &str, &str)| {
        read(path).is_some_and(|text| text.trim() == *value)
    };
    (REASONS.iter().find(holds)).map_or(
        "a container or a policy of this system may forbid them; run it with sudo, or outside of the container",
        |(_, _, advice)| advice,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::command::{capture, mortal};

    #[test]
    fn what_forbids_namespaces_is_named_with_a_way_out() {
        let ubuntu = |path: &str| {
            let value = if path.contains("apparmor") {
                "1\n"
            } else {
                "15000\n"
            };
            Some(value.to_owned())
        };
        assert!(advice(&ubuntu).contains("AppArmor"));
        let off = |path: &str| {
            path.ends_with("max_user_namespaces")
                .then(|| "0\n".to_owned())
        };
        assert!(advice(&off).contains("sysctl user.max_user_namespaces"));
        assert!(advice(&|_| None).contains("container"));
    }

    #[test]
    fn owners_stay_and_calls_that_change_them_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let text = |filtered: bool| {
            let mut command = mortal("sh");
            if filtered {
                owners_are_ignored(&mut command);
            }
            command.args([
                "-c",
                "chown 12345:42 \"$1\" && chown -h 7 \"$1\" && stat -c %u \"$1\"",
                "sh",
            ]);
            command.arg(&file);
            capture("chown", &mut command, &folder.path().join("log"))
        };
        let own = rustix::process::geteuid().as_raw().to_string();
        assert_eq!(text(true).unwrap().trim(), own);
        // Without the filter the same commands change the owner, or are refused.
        assert_ne!(
            text(false).ok().as_deref().map(str::trim),
            Some(own.as_str())
        );
    }
}
