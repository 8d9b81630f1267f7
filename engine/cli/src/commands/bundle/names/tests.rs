//! What is found, and what is not.

use super::*;

fn names(secrets: &[(Kind, &str)]) -> Names {
    let secrets: Vec<Secret> = secrets
        .iter()
        .filter_map(|(kind, text)| Secret::new(*kind, text))
        .collect();
    Names::new(&secrets, &[], "net-20261130-155801-2659").unwrap()
}

fn found(names: &Names, text: &str) -> Vec<(Kind, String)> {
    let hits = names.hits(text.as_bytes()).into_iter();
    hits.map(|hit| (hit.kind, text[hit.start..hit.end].to_owned()))
        .collect()
}

#[test]
fn what_names_somebody_is_found_by_its_form() {
    let names = names(&[]);
    for (text, kind, hit) in [
        (
            "error: /home/erika/vexp/x.ncl:3",
            Kind::Folder,
            "/home/erika/vexp/x.ncl",
        ),
        (
            "\"run\":\"/tmp/x y/../runs/net-20261130-155801-2659\"",
            Kind::Folder,
            "/tmp/x y/../runs",
        ),
        (
            "in /tmp/q/runs/net-20261130-155801-2659/blocks",
            Kind::Folder,
            "/tmp/q/runs",
        ),
        ("It lies in /srv/tower/net.", Kind::Folder, "/srv/tower/net"),
        (
            "mail erika@cs.example.edu.",
            Kind::Mail,
            "erika@cs.example.edu",
        ),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1 erika@zuse ok",
            Kind::Key,
            "AAAAC3NzaC1lZDI1 erika@zuse",
        ),
        ("zone Europe/Lisbon", Kind::Zone, "Europe/Lisbon"),
        ("2026-11-30T15:58:01+01:00", Kind::Zone, "+01:00"),
        ("Mon Nov 30 15:58:01 CEST 2026", Kind::Zone, "CEST"),
        (
            "url = git@github.com:erika/net.git",
            Kind::Repository,
            "git@github.com:erika/net.git",
        ),
        (
            "see https://gitlab.example.org/erika/net for",
            Kind::Repository,
            "https://gitlab.example.org/erika/net",
        ),
        ("to 128.105.144.3 port", Kind::Address, "128.105.144.3"),
        (
            "inet6 2a00:1450:4001:82a::200e/64",
            Kind::Address,
            "2a00:1450:4001:82a::200e",
        ),
        (
            "link/ether 3c:fd:fe:9e:7f:10 brd",
            Kind::Address,
            "3c:fd:fe:9e:7f:10",
        ),
    ] {
        let all = found(&names, text);
        assert!(
            all.iter().any(|one| *one == (kind, hit.to_owned())),
            "{text}: {all:?}"
        );
    }
}

#[test]
fn what_is_the_same_everywhere_stays() {
    let names = names(&[
        (Kind::User, "root"),
        (Kind::Host, "vm12"),
        (Kind::Host, "localhost"),
        (Kind::User, "ab"),
    ]);
    for text in [
        "198.18.0.2 and 10.0.0.1 and 127.0.0.1 and 192.0.2.9, root on vm12 ab",
        "/run/vexp/keys/client, /var/cache/vexp, /root/x, application/data/x",
        "libfoo:amd64=1.2.3.4-1 and QEMU 10.0.13 (Debian 1:10.0.13+ds)",
        "chacha20-poly1305@openssh.com getty@tty1.service",
        "52:54:00:12:34:56 and 00:16:3e:00:00:01 and 0000:00:04.0",
        "2026-11-30T15:58:01Z 15:58:01 UTC 15:58:01+00:00",
        "fe80::5054:ff:fe12:3456 2001:db8::1 ::1",
        "person1@anon.invalid https://anon.invalid/repository1 /anon/folder1/net-20261130-155801-2659",
        "anon-user1 anon-host1 anon-key1 10.0000/anon1 02:00:00:00:00:01",
    ] {
        assert_eq!(found(&names, text), [], "{text}");
    }
}

#[test]
fn known_names_are_found_whatever_their_case_and_short_ones_alone() {
    let names = names(&[
        (Kind::User, "erika"),
        (Kind::Host, "zuse"),
        (Kind::Author, "Erika Muster"),
    ]);
    let all = found(&names, "ERIKA_key of Erika Muster on zuse, zuses");
    let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["ERIKA", "Erika Muster", "zuse"]);
    assert_eq!(all[1].0, Kind::Author);
}

#[test]
fn the_same_is_called_the_same_and_nothing_is_replaced_twice() {
    let names = names(&[(Kind::User, "erika")]);
    let mut replacing = Replacing::new(&names);
    let once = replacing
        .replaced(b"erika Erika 8.8.8.8 erika@x.org 8.8.4.4 8.8.8.8")
        .into_owned();
    let text = String::from_utf8(once.clone()).unwrap();
    assert_eq!(
        text,
        "anon-user1 anon-user1 192.0.2.1 person1@anon.invalid 192.0.2.2 192.0.2.1"
    );
    assert_eq!(replacing.replaced(&once).as_ref(), once);
    let words: Vec<String> = replacing.summary().iter().map(Replaced::words).collect();
    assert!(
        words.contains(&"replaced: network address, 2 different, 3 in all".to_owned()),
        "{words:?}"
    );
}

#[test]
fn names_are_read_out_of_what_programs_print() {
    let bytes =
        b"Linux 6.1.0 (zuse.example.org) \t11/30/26\n{\"system_info\":\"Linux erlang 6.1 #1\"}\n\
        ssh-rsa AAAAB3NzaC1yc2E erika@turm\nLinux 6.12 (host) x\n";
    let texts: Vec<String> = in_run(bytes)
        .unwrap()
        .into_iter()
        .map(|secret| secret.text)
        .collect();
    assert_eq!(texts, ["erlang", "zuse.example.org", "erika@turm"]);
}

#[test]
fn an_author_is_known_in_both_orders() {
    let texts =
        |name| -> Vec<String> { author(name).into_iter().map(|secret| secret.text).collect() };
    assert_eq!(
        texts("Muster, Erika"),
        ["Muster, Erika", "Erika Muster", "Muster"]
    );
    assert_eq!(texts("Erika Muster"), ["Erika Muster", "Muster"]);
}

#[test]
fn an_inventory_names_its_machines() {
    let value = serde_json::json!({"inventory": {"turm": {
        "ssh": "turm.cs.example.edu", "user": "erika", "jump": ["em@gate.example.edu:2222"],
        "control": "10.7.0.3", "data": [{"nic": "eth1", "address": "198.18.0.1/24"}],
    }}});
    let mut found = Vec::new();
    known::machines(&value, &mut found);
    let texts: BTreeMap<&str, Kind> = found
        .iter()
        .map(|secret| (secret.text.as_str(), secret.kind))
        .collect();
    assert_eq!(
        texts.keys().copied().collect::<Vec<_>>(),
        [
            "10.7.0.3",
            "erika",
            "gate",
            "gate.example.edu",
            "turm",
            "turm.cs.example.edu"
        ]
    );
}

#[test]
fn a_node_that_measured_is_known_by_its_long_and_its_short_name() {
    let computer = vexp_api::record::Computer {
        node: "gros-12.nancy.example.fr".to_owned(),
        facts: BTreeMap::new(),
    };
    let texts: Vec<String> = (known::computer(&computer).into_iter())
        .map(|secret| secret.text)
        .collect();
    assert_eq!(texts, ["gros-12.nancy.example.fr", "gros-12"]);
}
