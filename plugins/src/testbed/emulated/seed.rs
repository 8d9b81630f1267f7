//! Seeds: the identity of a machine or guest, as a cpio archive that is appended to its initramfs.
//!
//! The kernel unpacks any number of concatenated archives ("initramfs buffer format" in the
//! kernel's documentation, newc with magic 070701, each member padded to 4 bytes).

use std::fmt::Write as _;

/// A NIC's line in the seed's `net` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::testbed) struct NetLine {
    pub(in crate::testbed) mac: String,
    pub(in crate::testbed) interface: String,
    /// `address/prefix`, or none.
    pub(in crate::testbed) cidr: Option<String>,
    pub(in crate::testbed) bridge: Option<String>,
}

/// What a node is told about itself.
#[derive(Clone, Debug)]
pub(in crate::testbed) struct Identity<'a> {
    pub(in crate::testbed) hostname: &'a str,
    pub(in crate::testbed) net: &'a [NetLine],
    pub(in crate::testbed) host_key: &'a str,
    pub(in crate::testbed) host_key_public: &'a str,
    pub(in crate::testbed) authorized: &'a str,
    /// Features of its data NICs that it switches off, as ethtool(8) names them.
    pub(in crate::testbed) features_off: &'a [&'a str],
}

impl Identity<'_> {
    /// File names in `/vexp` (later `/run/vexp`) and what is in them.
    pub(in crate::testbed) fn files(&self) -> Vec<(&'static str, String)> {
        let mut net = String::new();
        for line in self.net {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            // Writing to a String cannot fail.
            let _ = writeln!(
                net,
                "{} {} {} {}",
                line.mac,
                line.interface,
                or_dash(&line.cidr),
                or_dash(&line.bridge)
            );
        }
        let mut files = vec![
            ("hostname", format!("{}\n", self.hostname)),
            ("net", net),
            ("ssh_host_ed25519_key", self.host_key.to_owned()),
            ("ssh_host_ed25519_key.pub", self.host_key_public.to_owned()),
            ("authorized_keys", self.authorized.to_owned()),
        ];
        let data = self
            .net
            .iter()
            .filter(|line| line.interface.starts_with("data"));
        let off: String = data
            .flat_map(|line| self.features_off.iter().map(move |feature| (line, feature)))
            .map(|(line, feature)| format!("{} {feature}\n", line.interface))
            .collect();
        if !off.is_empty() {
            files.push(("features_off", off));
        }
        files
    }

    /// The seed archive.
    pub(in crate::testbed) fn cpio(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        archive.folder("vexp");
        for (name, content) in self.files() {
            archive.file(&format!("vexp/{name}"), content.as_bytes());
        }
        archive.end()
    }
}

/// A newc cpio archive, to be appended to an initramfs.
#[derive(Default)]
pub(in crate::testbed) struct Archive {
    bytes: Vec<u8>,
    members: u32,
}

impl Archive {
    /// A folder that only root may look into.
    pub(in crate::testbed) fn folder(&mut self, name: &str) {
        self.members += 1;
        member(&mut self.bytes, self.members, 0o040_700, name, b"");
    }

    /// A file that only root may read.
    pub(in crate::testbed) fn file(&mut self, name: &str, content: &[u8]) {
        self.members += 1;
        member(&mut self.bytes, self.members, 0o100_600, name, content);
    }

    /// The whole archive.
    pub(in crate::testbed) fn end(mut self) -> Vec<u8> {
        member(&mut self.bytes, 0, 0, "TRAILER!!!", b"");
        self.bytes
    }
}

fn member(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) {
    let (size, name_size) = (content.len(), name.len() + 1);
    let links = if mode & 0o040_000 != 0 { 2 } else { 1 };
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [
        inode as usize,
        mode as usize,
        0,
        0,
        links,
        0,
        size,
        0,
        0,
        0,
        0,
        name_size,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_the_files() {
        let net = [
            NetLine {
                mac: "52:54:00:00:ff:02".into(),
                interface: "ctl0".into(),
                cidr: Some("198.19.255.2/24".into()),
                bridge: Some("ctlbr".into()),
            },
            NetLine {
                mac: "52:54:00:00:00:02".into(),
                interface: "data0".into(),
                cidr: None,
                bridge: None,
            },
        ];
        let identity = Identity {
            hostname: "host",
            net: &net,
            host_key: "PRIVATE",
            host_key_public: "PUBLIC",
            authorized: "KEY",
            features_off: &["gro"],
        };
        // Only data NICs: control is nobody's business.
        let files = identity.files();
        assert_eq!(
            files.last().unwrap(),
            &("features_off", "data0 gro\n".to_owned())
        );
        assert_eq!(
            identity.files()[1].1,
            "52:54:00:00:ff:02 ctl0 198.19.255.2/24 ctlbr\n52:54:00:00:00:02 data0 - -\n"
        );
        let cpio = identity.cpio();
        assert_eq!(cpio.len() % 4, 0);
        assert!(cpio.starts_with(b"070701"));
        // The second member: 110 bytes of header and "vexp\0" padded to 116 stand before it.
        assert_eq!(&cpio[116..122], b"070701");
        let text = String::from_utf8_lossy(&cpio);
        for name in [
            "vexp/hostname",
            "vexp/net",
            "vexp/authorized_keys",
            "TRAILER!!!",
        ] {
            assert!(text.contains(name), "{name}");
        }
    }
}
