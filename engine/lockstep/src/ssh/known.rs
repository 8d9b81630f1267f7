//! Known hosts, as sshd(8) describes their file.

use super::base64;
use super::key::{ED25519, PublicKey};

/// The Ed25519 keys that a file has for a host. Hashed names and patterns are not looked at: vexp writes neither.
/// A key that is marked as revoked is never among them.
pub(super) fn keys(file: &str, address: std::net::IpAddr, port: u16) -> Vec<PublicKey> {
    let name = match port {
        22 => address.to_string(),
        _ => format!("[{address}]:{port}"),
    };
    let (mut keys, mut revoked) = (Vec::new(), Vec::new());
    for line in file.lines() {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(hosts), Some(ED25519), Some(key)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let key = base64::decode(key).and_then(|blob| PublicKey::from_blob(&blob).ok());
        let Some(key) = key.filter(|_| hosts.split(',').any(|host| host == name)) else {
            continue;
        };
        match marker {
            None => keys.push(key),
            Some("@revoked") => revoked.push(key),
            Some(_) => (),
        }
    }
    keys.retain(|key| !revoked.contains(key));
    keys
}

#[cfg(test)]
mod tests {
    use super::super::key::KeyPair;
    use super::*;

    #[test]
    fn a_host_has_the_keys_of_its_name_and_port() {
        let [a, b, c] = ["a", "b", "c"].map(|owner| KeyPair::from_seed(1, owner).public());
        let file = format!(
            "# comment\n\n198.19.255.2 {}\n198.19.255.3,198.19.255.2 {} its name\n[198.19.255.2]:2222 {}\n\
             198.19.255.2 ssh-rsa AAAA\n198.19.255.2 ssh-ed25519 AAAA\n198.19.255.2\n@cert-authority 198.19.255.2 {}\n",
            a.line(),
            b.line(),
            c.line(),
            c.line()
        );
        let address = "198.19.255.2".parse().unwrap();
        assert_eq!(keys(&file, address, 22), [a, b]);
        assert_eq!(keys(&file, address, 2222), [c]);
        assert_eq!(keys(&file, "198.19.255.20".parse().unwrap(), 22), []);
        let revoked = format!("{file}@revoked 198.19.255.2 {}\n", a.line());
        assert_eq!(keys(&revoked, address, 22), [b]);
    }
}
