//! How a machine's network is set up, and how it is put back: what a run changes is found by
//! comparing what was before with what is now, so that a run that died at any moment can be undone
//! by the next one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vexp_api::ids::Interface;
use vexp_api::plugin::PluginError;
use vexp_api::shell::Cmd;

use super::far::Rack;

/// Settings that a machine which forwards is given.
const SETTINGS: &[&str] = &[
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.conf.default.send_redirects",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.default.rp_filter",
];

/// What a run may change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Interfaces by name.
    pub(super) links: BTreeMap<String, LinkState>,
    /// Routes of the main table by destination.
    pub(super) routes: BTreeMap<String, Route>,
    /// Settings by name.
    pub(super) settings: BTreeMap<String, String>,
    /// Root queueing disciplines of data NICs, as `tc` names them.
    pub(super) qdiscs: BTreeMap<String, String>,
    /// What the hypervisor's plugin is going to change, by its own names.
    #[serde(default)]
    pub(super) hypervisor: BTreeMap<String, String>,
    /// dom0's weight, in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dom0_weight: Option<u32>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkState {
    /// Whether it is set up.
    pub(super) up: bool,
    /// The bridge that it is a port of.
    pub(super) master: Option<String>,
    /// `address/prefix`.
    pub(super) addresses: Vec<String>,
}

/// A route to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    #[serde(default)]
    pub(super) gateway: Option<String>,
    #[serde(default)]
    pub(super) dev: Option<String>,
    #[serde(default)]
    pub(super) metric: Option<u32>,
}

/// What `ip -json address show` says of an interface.
#[derive(Deserialize)]
struct Shown {
    ifname: String,
    master: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<ShownAddress>,
}

#[derive(Deserialize)]
struct ShownAddress {
    local: Option<String>,
    prefixlen: Option<u8>,
}

/// What `ip -json route show` says of a route.
#[derive(Deserialize)]
struct ShownRoute {
    dst: String,
    #[serde(flatten)]
    route: Route,
}

/// What `tc -json qdisc show` says of a queueing discipline.
#[derive(Deserialize)]
struct ShownQdisc {
    kind: String,
    dev: String,
    #[serde(default)]
    root: bool,
}

/// Reads what `ip -json address show` printed.
pub(super) fn parse_links(text: &str) -> Result<BTreeMap<String, LinkState>, serde_json::Error> {
    let shown: Vec<Shown> = serde_json::from_str(text)?;
    let state = |one: Shown| {
        let addresses = one.addr_info.iter();
        let addresses = addresses
            .filter_map(|a| Some(format!("{}/{}", a.local.as_ref()?, a.prefixlen?)))
            .collect();
        let up = one.flags.iter().any(|flag| flag == "UP");
        let master = one.master;
        (
            one.ifname,
            LinkState {
                up,
                master,
                addresses,
            },
        )
    };
    Ok(shown.into_iter().map(state).collect())
}

/// Reads what `ip -json route show` printed.
fn parse_routes(text: &str) -> Result<BTreeMap<String, Route>, serde_json::Error> {
    let shown: Vec<ShownRoute> = serde_json::from_str(text)?;
    Ok(shown.into_iter().map(|one| (one.dst, one.route)).collect())
}

/// Reads what `sysctl NAME…` printed.
fn parse_settings(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

const LOOK: &str = "look at the machine's network";

/// How the machine is now.
pub(super) async fn look(rack: &Rack) -> Result<State, PluginError> {
    let bad = |what: &str| {
        let what = what.to_owned();
        move |e: serde_json::Error| {
            rack.fail(LOOK, format!("can't read what `{what}` printed: {e}"))
        }
    };
    let ip = |args: &[&str]| Cmd::new("ip").args(args.iter().copied());
    let links = rack.check(LOOK, ip(&["-json", "address", "show"])).await?;
    let routes = rack.check(LOOK, ip(&["-json", "route", "show"])).await?;
    let sysctl = Cmd::new("sysctl").args(SETTINGS.iter().copied());
    let settings = parse_settings(&rack.check(LOOK, sysctl).await?);
    let qdiscs = Cmd::new("tc").args(["-json", "qdisc", "show"]);
    let qdiscs: Vec<ShownQdisc> =
        serde_json::from_str(&rack.check(LOOK, qdiscs).await?).map_err(bad("tc -json"))?;
    let ours = |dev: &str| rack.entry.data.iter().any(|data| data.nic.as_str() == dev);
    Ok(State {
        links: parse_links(&links).map_err(bad("ip -json"))?,
        routes: parse_routes(&routes).map_err(bad("ip -json route"))?,
        settings,
        qdiscs: (qdiscs.into_iter())
            .filter(|one| one.root && ours(&one.dev))
            .map(|one| (one.dev, one.kind))
            .collect(),
        hypervisor: BTreeMap::new(),
        dom0_weight: None,
    })
}

impl State {
    /// What the hypervisor's plugin has to put back.
    pub(super) fn of_hypervisor(&self) -> BTreeMap<String, String> {
        let mut all = self.hypervisor.clone();
        all.extend(
            self.dom0_weight
                .map(|weight| ("dom0_weight".to_owned(), weight.to_string())),
        );
        all
    }
}

/// Names of interfaces that a run makes: the guests' control bridge, and bridges of data NICs that
/// were in none.
pub(super) fn own_links(rack: &Rack, before: &State) -> Vec<String> {
    let alone =
        |nic: &Interface| (before.links.get(nic.as_str())).is_none_or(|link| link.master.is_none());
    let bridges = (rack.entry.data.iter())
        .filter(|data| alone(&data.nic))
        .map(|data| crate::hypervisor::default_bridge(&data.nic));
    let made = [super::guests::CONTROL_BRIDGE.to_owned()]
        .into_iter()
        .chain(bridges);
    made.filter(|name| !before.links.contains_key(name))
        .collect()
}

/// Commands that lead from `now` back to `before`, in order. `peers` are addresses that a run sets
/// routes to.
pub(super) fn way_back(rack: &Rack, before: &State, now: &State, peers: &[String]) -> Vec<Cmd> {
    let ip = |args: &[&str]| Cmd::new("ip").args(args.iter().copied());
    let mut way = Vec::new();
    for link in own_links(rack, before) {
        if now.links.contains_key(&link) {
            way.push(ip(&["link", "delete", "dev", &link]));
        }
    }
    for data in &rack.entry.data {
        let nic = data.nic.as_str();
        let (Some(was), Some(is)) = (before.links.get(nic), now.links.get(nic)) else {
            continue;
        };
        let cidr = data.address.to_string();
        if is.addresses.contains(&cidr) && !was.addresses.contains(&cidr) {
            way.push(ip(&["address", "delete", &cidr, "dev", nic]));
        }
        // Where the NIC was a bridge's port before, the address went to that bridge.
        if let Some(bridge) = &was.master
            && let (Some(was), Some(is)) = (before.links.get(bridge), now.links.get(bridge))
            && is.addresses.contains(&cidr)
            && !was.addresses.contains(&cidr)
        {
            way.push(ip(&["address", "delete", &cidr, "dev", bridge]));
        }
        if is.up && !was.up {
            way.push(ip(&["link", "set", "dev", nic, "down"]));
        }
        let qdisc = |state: &State| state.qdiscs.get(nic).cloned();
        if let (Some(was), Some(is)) = (qdisc(before), qdisc(now))
            && was != is
        {
            let args = ["qdisc", "replace", "dev", nic, "root", &was];
            way.push(Cmd::new("tc").args(args));
        }
    }
    for peer in peers {
        match (before.routes.get(peer), now.routes.get(peer)) {
            (None, Some(_)) => way.push(ip(&["route", "delete", peer])),
            (Some(was), is) if Some(was) != is => {
                let mut cmd = ip(&["route", "replace", peer]);
                if let Some(gateway) = &was.gateway {
                    cmd = cmd.args(["via", gateway]);
                }
                if let Some(dev) = &was.dev {
                    cmd = cmd.args(["dev", dev]);
                }
                if let Some(metric) = was.metric {
                    cmd = cmd.args(["metric", &metric.to_string()]);
                }
                way.push(cmd);
            }
            _ => {}
        }
    }
    for (key, was) in &before.settings {
        if now.settings.get(key).is_some_and(|is| is != was) {
            way.push(Cmd::new("sysctl").args(["-w", &format!("{key}={was}")]));
        }
    }
    way
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use vexp_testkit::FakeShell;

    use vexp_api::ids::Name;

    use super::*;
    use crate::testbed::hosts::inventory::Inventory;

    const ADDRESSES: &str = include_str!("../../../testdata/hosts-debian13/address.json");
    const ROUTES: &str = include_str!("../../../testdata/hosts-debian13/route.json");

    fn rack() -> Rack {
        let options = json!({"inventory": {"rack1": {
            "role": "host", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
        }}});
        let inventory = Inventory::read(options.as_object().unwrap(), &Default::default()).unwrap();
        let name = Name::new("rack1").unwrap();
        Rack {
            entry: inventory.machines[&name].clone(),
            shell: Arc::new(FakeShell::replay(name.clone(), "")),
            name,
        }
    }

    fn before() -> State {
        State {
            links: parse_links(ADDRESSES).unwrap(),
            routes: parse_routes(ROUTES).unwrap(),
            settings: parse_settings("net.ipv4.ip_forward = 0\n"),
            qdiscs: BTreeMap::from([("eth1".to_owned(), "mq".to_owned())]),
            ..State::default()
        }
    }

    #[test]
    fn what_an_earlier_version_took_is_put_back() {
        let mut old = serde_json::to_value(before()).unwrap();
        let fields = old.as_object_mut().unwrap();
        fields.remove("hypervisor");
        fields.insert("dom0_weight".to_owned(), json!(256));
        let read: State = serde_json::from_value(old).unwrap();
        assert_eq!(read.of_hypervisor()["dom0_weight"], "256");
    }

    fn way(before: &State, now: &State) -> Vec<String> {
        let peers = ["198.18.1.9".to_owned()];
        let way = way_back(&rack(), before, now, &peers);
        way.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_put_back_that_was_not_changed() {
        let before = before();
        assert_eq!(before.links["ctl0"].addresses[0], "10.99.0.1/24");
        assert!(!before.links["eth1"].up);
        assert_eq!(before.routes["10.99.0.0/24"].dev.as_deref(), Some("ctl0"));
        assert_eq!(way(&before, &before), [""; 0]);
        // What others did meanwhile is theirs.
        let mut now = before.clone();
        now.links.insert("docker0".to_owned(), LinkState::default());
        now.routes.insert("default".to_owned(), Route::default());
        assert_eq!(way(&before, &now), [""; 0]);
    }

    #[test]
    fn what_a_run_changes_is_put_back() {
        let before = before();
        let mut now = before.clone();
        let eth1 = now.links.get_mut("eth1").unwrap();
        eth1.up = true;
        eth1.addresses.push("198.18.0.1/24".to_owned());
        for link in ["vexp-ctl", "br-eth1"] {
            now.links.insert(link.to_owned(), LinkState::default());
        }
        let route = Route {
            gateway: Some("198.18.0.10".to_owned()),
            ..Route::default()
        };
        now.routes.insert("198.18.1.9".to_owned(), route);
        now.settings
            .insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
        now.qdiscs.insert("eth1".to_owned(), "noqueue".to_owned());
        assert_eq!(
            way(&before, &now),
            [
                "ip link delete dev vexp-ctl",
                "ip link delete dev br-eth1",
                "ip address delete 198.18.0.1/24 dev eth1",
                "ip link set dev eth1 down",
                "tc qdisc replace dev eth1 root mq",
                "ip route delete 198.18.1.9",
                "sysctl -w net.ipv4.ip_forward=0",
            ]
        );
        // A route of the user's own that was replaced comes back.
        let mut own = before.clone();
        let was = Route {
            gateway: Some("198.18.0.254".to_owned()),
            dev: Some("eth1".to_owned()),
            metric: None,
        };
        own.routes.insert("198.18.1.9".to_owned(), was);
        assert!(
            way(&own, &now)
                .contains(&"ip route replace 198.18.1.9 via 198.18.0.254 dev eth1".to_owned())
        );
    }

    #[test]
    fn bridges_that_were_there_are_left() {
        let mut before = before();
        before.links.get_mut("eth1").unwrap().master = Some("br0".to_owned());
        for link in ["br0", "br-eth1"] {
            before.links.insert(link.to_owned(), LinkState::default());
        }
        assert_eq!(own_links(&rack(), &before), ["vexp-ctl"]);
        assert_eq!(way(&before, &before), [""; 0]);
    }

    #[test]
    fn changed_answers_about_a_network_are_read_or_refused() {
        use vexp_testkit::hostile::on_changed_text as on;
        on(100, ADDRESSES, |text| drop(parse_links(text)));
        on(100, ROUTES, |text| drop(parse_routes(text)));
        on(100, "net.ipv4.ip_forward = 0\n", |text| {
            drop(parse_settings(text))
        });
        // What is put back follows from what a machine says, as long as it says something.
        let before = before();
        on(100, ADDRESSES, |text| {
            if let Ok(links) = parse_links(text) {
                let links = State {
                    links,
                    ..before.clone()
                };
                let _ = (way(&before, &links), way(&links, &before));
            }
        });
    }
}
