//! What testbeds say of their options as a whole.

use super::Cx;
use super::findings::Findings;
use crate::load::FieldPath;

pub(super) fn check(cx: &Cx<'_>, findings: &mut Findings<'_>) {
    for (name, overlay) in &cx.study.testbeds {
        let plugin = cx.registry.testbeds().get(name.as_str());
        if let Some(message) = plugin.and_then(|plugin| plugin.wrong(&overlay.options)) {
            let path = FieldPath::of(&["testbeds", name.as_str(), "options"]);
            let help = Some(format!("`vexp help {name}` shows the options"));
            findings.rule("testbed-options", &path, message, help, &[]);
        }
    }
}
