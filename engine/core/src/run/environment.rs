//! What a node is: asked in one script, kept raw beside the results, and read as facts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use vexp_api::environment::{self, Facts};
use vexp_api::plugin::Node;
use vexp_api::shell::Cmd;

use super::files::{self, FileError};
use super::together::each;

/// A constant script, since each connection and each process costs an emulated machine: sections
/// that begin with a line `== NAME`. What a node can't say, it leaves out. A machine of vexp's own
/// images has their packages and tools, which need not be listed again.
const SCRIPT: &str = r#"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
exec 2> /dev/null
section() {
    echo "== $1"
    shift
    "$@" < /dev/null
    echo
}
section kernel uname -srvm
for file in /proc/cmdline /proc/cpuinfo /proc/meminfo /proc/modules /etc/os-release; do
    section "${file##*/}" cat $file
done
section clocksource cat /sys/devices/system/clocksource/clocksource0/current_clocksource
section thp cat /sys/kernel/mm/transparent_hugepage/enabled
echo '== governor'
for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do
    [ -r "$file" ] && read -r value < "$file" && echo "$value"
done
echo '== vulnerabilities'
for file in /sys/devices/system/cpu/vulnerabilities/*; do
    [ -r "$file" ] && read -r value < "$file" && echo "${file##*/}: $value"
done
section sysctl sysctl -a --pattern '^(net\.(core|bridge)\.|net\.ipv4\.(tcp|udp|ip|conf\.(all|default))|kernel\.(sched|numa|nmi|watchdog|timer)|vm\.)'
section links ip -d -s -j addr
section qdiscs tc -s -j qdisc
for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    nic=${nic##*/}
    section "driver $nic" ethtool -i "$nic"
    section "offload $nic" ethtool -k "$nic"
    section "ring $nic" ethtool -g "$nic"
    section "channels $nic" ethtool -l "$nic"
    section "coalesce $nic" ethtool -c "$nic"
done
if [ -d /proc/xen ] && command -v xl > /dev/null; then
    section xen xl info
    section weights xl sched-credit
fi
if [ -r /usr/lib/vexp/image ]; then
    section image cat /usr/lib/vexp/image
    exit 0
fi
if command -v dpkg-query > /dev/null; then
    section packages dpkg-query -W -f '${Package}:${Architecture}=${Version}\n'
elif command -v rpm > /dev/null; then
    section packages rpm -qa --qf '%{NAME}.%{ARCH}=%{VERSION}-%{RELEASE}\n'
fi
for tool in iperf iperf3 netperf ping sar ip qemu-system-x86_64; do
    command -v $tool > /dev/null || continue
    case $tool in
        iperf | iperf3) flag=-v ;;
        qemu-system-x86_64) flag=--version ;;
        *) flag=-V ;;
    esac
    echo "== tool $tool"
    $tool $flag 2>&1 < /dev/null
done
exit 0"#;

/// How long a node may take to answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// What nodes have answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Facts by node.
    pub facts: BTreeMap<String, Facts>,
    /// Nodes that have not answered, and why.
    pub unread: BTreeMap<String, String>,
}

/// Asks nodes, all at the same time, and writes what they answer to `folder/NODE.txt`. A node that
/// does not answer has no facts, and its file says why.
///
/// # Errors
/// The answers can't be written.
pub async fn record(nodes: &[Node], folder: &Path) -> Result<Answers, FileError> {
    files::create_dir(folder)?;
    let answers = each(nodes.to_vec(), |node| async move {
        let ask = Cmd::new("sh").args(["-c", SCRIPT, "environment"]);
        let answer = match node.shell.run(ask.deadline(DEADLINE).brief()).await {
            Ok(output) if output.ok() && !output.truncated => Ok(output.text()),
            Ok(output) if output.truncated => Err("an answer without an end".to_owned()),
            Ok(output) if output.timed_out => {
                Err(format!("no answer within {} s", DEADLINE.as_secs()))
            }
            Ok(output) => Err(format!("no answer: {}", output.stderr_tail())),
            Err(error) => Err(format!("no answer: {error}")),
        };
        (node.name, answer)
    });
    let mut seen = Answers::default();
    for (name, answer) in answers.await {
        let path = folder.join(format!("{name}.txt"));
        match answer {
            Ok(text) => {
                files::write_atomic(&path, text.as_bytes())?;
                let found = environment::facts(&environment::sections(&text));
                seen.facts.insert(name.to_string(), found);
            }
            Err(why) => {
                files::write_atomic(&path, format!("{why}\n").as_bytes())?;
                seen.unread.insert(name.to_string(), why);
            }
        }
    }
    Ok(seen)
}
