//! The computer that this process runs on.

/// Its name, as uname(2) has it.
pub fn name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
