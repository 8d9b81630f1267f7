//! The two toolstacks: what they are asked, what they answer, and how a guest is written down.

use std::fmt::Write as _;

use vexp_api::ids::Name;
use vexp_api::plan::Machine;
use vexp_api::plugin::{Node, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestFiles;
use vexp_api::spec::GuestShape;

use super::super::files::KERNEL_PARAMETERS;
use super::super::mac::Mac;

/// A toolstack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolstack {
    /// Xen 4.1 and newer; configuration syntax of xl.cfg(5).
    Xl,
    /// Xen 2 to 4.4 with `xend`; configuration files are Python, see xmdomain.cfg(5).
    Xm,
}

/// What a toolstack says about Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XenInfo {
    pub(super) version: String,
    pub(super) scheduler: String,
    /// Processors of the machine.
    pub(super) cpus: Option<u32>,
    /// Memory of the machine, bytes.
    pub(super) memory: Option<u64>,
}

/// The scripts that attach a guest's devices. libxl gives up on one after ten seconds, which Xen's
/// own, with some fifty processes each, need on an emulated and loaded machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scripts {
    /// Xen's own.
    Xen,
    /// Those of vexp's host images, which know one read-only disk and plain bridges.
    Vexp,
}

/// Where vexp's host images keep theirs.
const VEXP_SCRIPT: &str = "/etc/xen/scripts/vif-vexp";

impl Toolstack {
    /// Which scripts the host has. `xm` knows only Xen's own.
    pub(super) async fn scripts(self, host: &Node, step: &str) -> Result<Scripts, PluginError> {
        if self == Self::Xm {
            return Ok(Scripts::Xen);
        }
        let look = Cmd::new("test").args(["-x", VEXP_SCRIPT]);
        let seen = host.shell.run(look).await;
        let seen = seen.map_err(|error| PluginError::shell(step, &host.name, error))?;
        Ok(if seen.ok() {
            Scripts::Vexp
        } else {
            Scripts::Xen
        })
    }

    /// The one that the plan says; `xl` if it says none.
    pub(super) fn of(host: &Node, machine: &Machine) -> Result<Self, PluginError> {
        match machine.toolstack.as_ref().map(Name::as_str) {
            None | Some("xl") => Ok(Self::Xl),
            Some("xm") => Ok(Self::Xm),
            Some(other) => Err(PluginError::new(
                "choose the toolstack",
                host.name.as_str(),
                format!("`{other}` is not a toolstack of Xen: expected xl or xm"),
            )),
        }
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Xl => "xl",
            Self::Xm => "xm",
        }
    }

    /// Version and scheduler.
    pub(super) async fn info(self, host: &Node, step: &str) -> Result<XenInfo, PluginError> {
        let text = self.ask(host, step, &["info"]).await?;
        parse_info(&text).map_err(|what| {
            let message = format!("`{} info` does not say {what}", self.program());
            PluginError::new(step, host.name.as_str(), message)
        })
    }

    /// Sets dom0's weight under the credit scheduler.
    pub(super) async fn set_dom0_weight(self, host: &Node, weight: u16) -> Result<(), PluginError> {
        let args = ["sched-credit", "-d", "0", "-w", &weight.to_string()];
        self.ask(host, "set dom0's weight", &args).await.map(drop)
    }

    /// dom0's weight under the credit scheduler.
    pub(super) async fn dom0_weight(self, host: &Node) -> Result<u32, PluginError> {
        let step = "read dom0's weight back";
        let text = self.ask(host, step, &["sched-credit", "-d", "0"]).await?;
        parse_weight(&text).ok_or_else(|| {
            let message = format!(
                "`{} sched-credit -d 0` printed no weight of domain 0: {:?}",
                self.program(),
                text.trim()
            );
            PluginError::new(step, host.name.as_str(), message)
        })
    }

    /// Names of the domains beside dom0.
    pub(super) async fn guests(self, host: &Node, step: &str) -> Result<Vec<String>, PluginError> {
        let text = self.ask(host, step, &["list"]).await?;
        parse_list(&text).ok_or_else(|| {
            let message = format!("can't read what `{} list` printed", self.program());
            PluginError::new(step, host.name.as_str(), message)
        })
    }

    async fn ask(self, host: &Node, step: &str, args: &[&str]) -> Result<String, PluginError> {
        let cmd = Cmd::new(self.program()).args(args.iter().copied());
        let output = host.shell.check(cmd).await;
        output
            .map(|output| output.text())
            .map_err(|error| PluginError::shell(step, &host.name, error))
    }

    /// A paravirtual guest's configuration file. Nothing in it needs quoting: names, MAC addresses
    /// and our own paths have no quotes or backslashes.
    pub(super) fn config(
        self,
        name: &Name,
        files: &GuestFiles,
        shape: GuestShape,
        ramdisk: &str,
        nics: &[(Mac, &str)],
        scripts: Scripts,
    ) -> String {
        let mut text = String::new();
        let mut set = |key: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        let quoted = |value: &str| format!("\"{value}\"");
        set("name", quoted(name.as_str()));
        match self {
            Self::Xl => set("type", quoted("pv")),
            Self::Xm => set("builder", quoted("linux")),
        }
        set("kernel", quoted(files.kernel.as_str()));
        set("ramdisk", quoted(ramdisk));
        set(
            "extra",
            quoted(&format!("console=hvc0 {KERNEL_PARAMETERS}")),
        );
        set("memory", shape.memory.mib().to_string());
        set("vcpus", shape.vcpus.to_string());
        let disk = match scripts {
            Scripts::Xen => format!("phy:{},xvda,r", files.root),
            Scripts::Vexp => {
                let root = &files.root;
                format!("format=raw,vdev=xvda,access=r,script=block-vexp,target={root}")
            }
        };
        set("disk", format!("[{}]", quoted(&disk)));
        let vifs: Vec<String> = nics
            .iter()
            .enumerate()
            .map(|(index, (mac, bridge))| {
                let script = match scripts {
                    Scripts::Xen => String::new(),
                    Scripts::Vexp => format!(",vifname={name}.{index},script=vif-vexp"),
                };
                quoted(&format!("mac={},bridge={bridge}{script}", mac.as_str()))
            })
            .collect();
        set("vif", format!("[{}]", vifs.join(", ")));
        for event in ["on_poweroff", "on_reboot", "on_crash"] {
            set(event, quoted("destroy"));
        }
        text
    }
}

/// Reads `xl info` or `xm info`: lines of `key : value`. `xm` of Xen 3.x has no `xen_version`,
/// but its three parts: `xen_major`, `xen_minor` and `xen_extra`, the last with its own dot.
fn parse_info(text: &str) -> Result<XenInfo, &'static str> {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let parts = || {
        let (major, minor) = (value("xen_major")?, value("xen_minor")?);
        Some(format!(
            "{major}.{minor}{}",
            value("xen_extra").unwrap_or_default()
        ))
    };
    Ok(XenInfo {
        version: value("xen_version").or_else(parts).ok_or("Xen's version")?,
        scheduler: value("xen_scheduler")
            .filter(|scheduler| !scheduler.is_empty())
            .ok_or("which scheduler runs")?,
        cpus: value("nr_cpus").and_then(|text| text.parse().ok()),
        // In MiB.
        memory: value("total_memory")
            .and_then(|text| text.parse::<u64>().ok())
            .map(|mib| mib << 20),
    })
}

/// Names in a table whose header begins with `Name ID` and whose first row is domain 0.
fn parse_list(text: &str) -> Option<Vec<String>> {
    let mut rows = text.lines().map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next(), words.next())
    });
    if rows.next()? != (Some("Name"), Some("ID")) || rows.next()?.1? != "0" {
        return None;
    }
    rows.map(|(name, id)| {
        id?.parse::<u32>().ok()?;
        name.map(str::to_owned)
    })
    .collect()
}

/// Domain 0's weight in a table whose header ends in `ID Weight Cap`; both toolstacks print one,
/// `xl` sometimes after a line about the pool.
fn parse_weight(text: &str) -> Option<u32> {
    let mut rows = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .skip_while(|words| !words.ends_with(&["ID", "Weight", "Cap"]))
        .skip(1);
    rows.find_map(|words| match words.as_slice() {
        [.., "0", weight, cap] if cap.parse::<u32>().is_ok() => weight.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_xl_prints() {
        let info = parse_info(include_str!("../../../testdata/xl-4.20.4/info.txt")).unwrap();
        assert_eq!(
            (info.version.as_str(), info.scheduler.as_str()),
            ("4.20.4-pre", "credit")
        );
        for text in [
            include_str!("../../../testdata/xl-4.20.4/sched-credit-1-domu.txt"),
            include_str!("../../../testdata/xl-4.20.4/sched-credit-2-domu.txt"),
        ] {
            assert!(parse_weight(text).is_some(), "{text}");
        }
    }

    #[test]
    fn lists_the_domains_beside_dom0() {
        let two = include_str!("../../../testdata/xl-4.20.4/list-2-domu.txt");
        let names = parse_list(two).unwrap();
        assert_eq!(names, ["vm1", "a-guest-with-a-long-name"]);
        let none = include_str!("../../../testdata/xl-4.17.5/list-0-domu.txt");
        assert_eq!(parse_list(none).unwrap(), [""; 0]);
        let headless = two.split_once('\n').unwrap().1;
        let cut = &two[..two.find("vm1").unwrap() + 3];
        for bad in ["", headless, cut] {
            assert_eq!(parse_list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn refuses_what_lacks_something() {
        assert_eq!(parse_info("xen_scheduler : credit\n"), Err("Xen's version"));
        let version = "xen_version : 4.20.0\n";
        assert_eq!(parse_info(version), Err("which scheduler runs"));
        assert_eq!(
            parse_info(&format!("{version}xen_scheduler :\n")),
            Err("which scheduler runs")
        );
        let header = "Name ID Weight Cap\n";
        for bad in [
            "",
            header,
            "Domain-0 0 256 0\n",
            "Name ID Weight Cap\nvm1 3 256 0\n",
        ] {
            assert_eq!(parse_weight(bad), None, "{bad:?}");
        }
        assert_eq!(parse_weight(&format!("{header}Domain-0 0 nan 0\n")), None);
    }

    #[test]
    fn changed_answers_of_a_toolstack_are_read_or_refused() {
        use vexp_testkit::hostile::on_changed_text as on;
        let info = include_str!("../../../testdata/xl-4.20.4/info.txt");
        on(100, info, |text| {
            if let Ok(info) = parse_info(text) {
                assert!(!info.version.is_empty() && !info.scheduler.is_empty());
            }
        });
        let list = include_str!("../../../testdata/xl-4.20.4/list-2-domu.txt");
        on(100, list, |text| drop(parse_list(text)));
        let weights = include_str!("../../../testdata/xl-4.20.4/sched-credit-2-domu.txt");
        on(100, weights, |text| {
            let _ = parse_weight(text);
        });
    }
}
