//! A plan of very many short blocks.

use serde_json::json;
use vexp_api::digest::Digest;
use vexp_api::plan::Plan;

use super::Failed;

/// So many blocks of one trial each, of four platforms.
pub(crate) fn of(blocks: usize) -> Result<Plan, Failed> {
    let block = |n: usize| {
        let (platform, repetition) = (format!("p{}", n % 4), 1 + n / 4);
        let trial = format!("e.{platform}.v0.r{repetition}");
        json!({
            "id": format!("{platform}.h.v0.r{repetition}"), "repetition": repetition, "vms": 0,
            "boot": null,
            "trials": [{
                "id": trial, "experiment": "e", "platform": platform, "role": "sender", "vms": 0,
                "repetition": repetition, "boot": repetition, "traffic": {"tool": "ping"},
                "load": null, "monitors": [], "warm_up": "1s", "window": "3s",
            }],
            "machine": {
                "platform": platform, "hardware": "h", "cpus": 1, "memory": "2GiB", "nics": [],
                "image": null, "guest_image": null, "hypervisor": "linux", "version": "6.12",
                "toolstack": null, "scheduler": null, "dom0_weight": null, "nic": null,
                "guest": null, "max_vms": 0, "peers": 1, "options": {},
            },
        })
    };
    Ok(serde_json::from_value(json!({
        "format": 1, "study": "bench", "study_digest": Digest::of(b""), "testbed": "pretended",
        "effort": "e", "seed": 1, "calibration": null, "images": [],
        "blocks": (0..blocks).map(block).collect::<Vec<_>>(), "deviations": [], "excluded": [],
        "estimate": {"run": "1s", "build": "1s", "disk": "1B"},
    }))?)
}
