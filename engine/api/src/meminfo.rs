//! The computer's memory, as its kernel tells: proc_meminfo(5).

/// A field of /proc/meminfo, such as `MemTotal` or `MemAvailable`, in bytes; `None` if it can't be told.
pub fn read(field: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?, field)
}

fn parse(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == field).then_some(value)
    })?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text =
            "MemTotal:       24690784 kB\nMemAvailable:   23068672 kB\nHugePages_Total:       0\n";
        assert_eq!(parse(text, "MemAvailable"), Some(23_068_672 * 1024));
        assert_eq!(parse(text, "Mem"), None);
        // It has no unit: it is no amount of memory.
        assert_eq!(parse(text, "HugePages_Total"), None);
    }
}
