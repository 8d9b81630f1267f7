//! How many locksteps this computer carries at the same time.

use vexp_api::meminfo;
use vexp_api::plan::Machine;
use vexp_api::units::ByteSize;

use super::super::emulated::nodes::data_networks;
use super::command::PEERS_MIB;

/// Memory of this computer that stays free, MiB.
const FREE_MIB: u64 = 1024;

/// As many as there are processors, and as the memory that is free now holds whole.
pub(super) fn of(machine: &Machine) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let available = meminfo::read("MemAvailable").unwrap_or(0);
    fitting(machine, processors, available >> 20)
}

/// Of a batch engine's node one processor, as the emulators of a lockstep take turns, and the memory of all, with what
/// is to stay free.
pub(super) fn takes(machine: &Machine) -> (u32, ByteSize) {
    let mib = each_mib(machine).saturating_add(FREE_MIB);
    (1, ByteSize::new(mib.saturating_mul(1 << 20)))
}

/// Memory of a machine and its peers, MiB.
fn each_mib(machine: &Machine) -> u64 {
    let peers = data_networks(machine).count() as u64 * PEERS_MIB;
    machine.memory.mib() + peers
}

fn fitting(machine: &Machine, processors: usize, available_mib: u64) -> usize {
    let each = each_mib(machine);
    let fit = available_mib.saturating_sub(FREE_MIB) / each.max(1);
    usize::try_from(fit)
        .unwrap_or(usize::MAX)
        .clamp(1, processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_memory_limit_what_runs_at_once() {
        let machine: Machine = serde_json::from_value(serde_json::json!({
            "platform": "p", "hardware": "h", "cpus": 1, "memory": "4GiB",
            "nics": [{"model": "e1000", "rate": "1Gb/s"}], "image": "i", "guest_image": "guest",
            "hypervisor": "xen", "version": "4.20", "toolstack": null, "scheduler": null,
            "dom0_weight": null, "nic": null, "guest": {"vcpus": 1, "memory": "256MiB"},
            "max_vms": 2, "peers": 2, "options": {}
        }))
        .unwrap();
        // 4 GiB and 512 MiB for the peers, each; 1 GiB stays free.
        assert_eq!(fitting(&machine, 2, 24_000), 2);
        assert_eq!(fitting(&machine, 8, 24_000), 4);
        assert_eq!(fitting(&machine, 8, 5_000), 1);
        assert_eq!(
            takes(&machine),
            (1, ByteSize::new((4096 + 512 + 1024) << 20))
        );
    }
}
