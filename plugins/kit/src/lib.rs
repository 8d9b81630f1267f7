//! What plugins share. A traffic generator or monitor starts programs with [`capture`], reads their output with [`text`] and
//! its options with [`options`]; a hypervisor finds bridges, guests' files and MAC addresses in [`host`]. The plugins of
//! this project use nothing else beside `vexp-api`, so that yours can do what they do.

pub mod capture;
pub mod host;
pub mod options;
pub mod text;
