//! The guest image on a host: pushed once, found again by its digest, and looked at again before
//! each use.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use vexp_api::digest::Digest;
use vexp_api::event::Event;
use vexp_api::ids::RemotePath;
use vexp_api::plugin::{Context, ImageFiles, PluginError};
use vexp_api::shell::Cmd;
use vexp_api::site::GuestFiles;

use super::far::{FOLDER, Rack};

const STEP: &str = "push the guest image";
/// For 100 MB over a slow control network, and for reading them again.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A file of an image, as its manifest has it. The digest of an image is that of a map of these:
/// what a host says of its files can be held against it.
#[derive(Serialize)]
struct Stored {
    size: u64,
    digest: Digest,
}

/// The image's folder on a host.
fn folder(image: &ImageFiles) -> String {
    format!("{FOLDER}/images/{}", image.digest.hex())
}

/// The image's files here, by their names there.
fn files(image: &ImageFiles) -> Result<BTreeMap<&str, &Path>, PluginError> {
    let boot = image.boot.as_ref().ok_or_else(|| {
        PluginError::new(STEP, "controller", "the guest image has no kernel to boot")
    })?;
    Ok([
        ("root.squashfs", image.root.as_path()),
        ("vmlinuz", &boot.kernel),
        ("initramfs.img", &boot.initramfs),
    ]
    .into())
}

/// Makes sure that the host has the image, and says where, with its root still a file.
pub(super) async fn push(
    host: &Rack,
    image: &ImageFiles,
    cx: &Context,
) -> Result<GuestFiles, PluginError> {
    let files = files(image)?;
    let folder = folder(image);
    if !whole(host, image, &files, &folder).await? {
        let text = format!(
            "{}: the guest image is pushed ({})",
            host.name, image.digest
        );
        cx.events.event(&Event::Note { text });
        send(host, &files, &folder).await?;
        if !whole(host, image, &files, &folder).await? {
            let message = format!("what arrived in {folder} is not what was sent");
            return Err(host.fail(STEP, message));
        }
    }
    let path = |name: &str| {
        RemotePath::new(format!("{folder}/{name}")).map_err(|e| host.fail(STEP, e.to_string()))
    };
    Ok(GuestFiles {
        kernel: path("vmlinuz")?,
        initramfs: path("initramfs.img")?,
        root: path("root.squashfs")?,
    })
}

/// Whether the files there are the image, by their digests as the host computes them.
async fn whole(
    host: &Rack,
    image: &ImageFiles,
    files: &BTreeMap<&str, &Path>,
    folder: &str,
) -> Result<bool, PluginError> {
    let paths = files.keys().map(|name| format!("{folder}/{name}"));
    let sums = Cmd::new("sha256sum")
        .arg("--")
        .args(paths)
        .deadline(PATIENCE);
    let output = host.shell.run(sums).await;
    let output = output.map_err(|error| PluginError::shell(STEP, &host.name, error))?;
    if !output.ok() {
        return Ok(false);
    }
    let sums = parse_sums(&output.text());
    let mut stored = BTreeMap::new();
    for (name, path) in files {
        let size = std::fs::metadata(path).map(|data| data.len());
        let size = size.map_err(|e| host.fail(STEP, format!("{}: {e}", path.display())))?;
        let Some(digest) = sums.get(&format!("{folder}/{name}")).cloned() else {
            return Ok(false);
        };
        stored.insert(*name, Stored { size, digest });
    }
    Ok(Digest::of_value(&stored).is_ok_and(|digest| digest == image.digest))
}

/// Reads what sha256sum(1) prints.
fn parse_sums(text: &str) -> BTreeMap<String, Digest> {
    let line = |line: &str| {
        let (hex, path) = line.split_once("  ")?;
        let digest = Digest::try_from(format!("sha256:{hex}")).ok()?;
        Some((path.to_owned(), digest))
    };
    text.lines().filter_map(line).collect()
}

/// Sends the files to a folder beside the right one, which then takes its place.
async fn send(host: &Rack, files: &BTreeMap<&str, &Path>, folder: &str) -> Result<(), PluginError> {
    let part = format!("{folder}.part");
    let remove = |path: &str| Cmd::new("rm").args(["-rf", "--", path]);
    host.check(STEP, remove(&part)).await?;
    host.check(STEP, Cmd::new("mkdir").args(["-p", "--", &part]))
        .await?;
    for (name, path) in files {
        let bytes = tokio::fs::read(path).await;
        let bytes = bytes.map_err(|e| host.fail(STEP, format!("{}: {e}", path.display())))?;
        let of = format!("of={part}/{name}");
        let write = Cmd::new("dd").args([&of, "bs=1M", "conv=fsync", "status=none"]);
        host.check(STEP, write.stdin(bytes).deadline(PATIENCE))
            .await?;
    }
    host.check(STEP, remove(folder)).await?;
    let rename = Cmd::new("mv").args(["-T", "--", &part, folder]);
    host.check(STEP, rename).await.map(drop)
}

/// Gives the root a block device, which guests can be given.
pub(super) async fn attach(host: &Rack, mut files: GuestFiles) -> Result<GuestFiles, PluginError> {
    const STEP: &str = "attach the guest image";
    // Where the driver is built in there is no module: then losetup(8) tells.
    let module = Cmd::new("modprobe").args(["-q", "loop"]);
    let loaded = host.shell.run(module).await;
    loaded.map_err(|error| PluginError::shell(STEP, &host.name, error))?;
    let cmd = Cmd::new("losetup").args(["--read-only", "--find", "--show", "--"]);
    let device = host.check(STEP, cmd.arg(files.root.as_str())).await?;
    files.root = RemotePath::new(device.trim()).map_err(|e| host.fail(STEP, e.to_string()))?;
    Ok(files)
}

/// Takes all such devices away.
pub(super) async fn detach(host: &Rack) -> Result<(), PluginError> {
    const STEP: &str = "detach the guest image";
    let list = Cmd::new("losetup").args(["--noheadings", "--raw", "--output", "NAME,BACK-FILE"]);
    let said = host.check(STEP, list).await?;
    for device in attached(&said) {
        host.check(STEP, Cmd::new("losetup").args(["--detach", device]))
            .await?;
    }
    Ok(())
}

/// Devices of vexp's images in what `losetup --output NAME,BACK-FILE` printed.
fn attached(text: &str) -> Vec<&str> {
    let ours = format!("{FOLDER}/images/");
    let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
    pairs
        .filter(|(_, file)| file.trim().starts_with(&ours))
        .map(|(device, _)| device)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_of_our_images_are_ours() {
        let said = "/dev/loop1 /var/lib/vexp/images/ab/root.squashfs\n/dev/loop0 /home/x/disk.img\n\
                    /dev/loop2 /var/lib/vexp/images/ab/root.squashfs (deleted)\n";
        assert_eq!(attached(said), ["/dev/loop1", "/dev/loop2"]);
        assert_eq!(attached(""), [""; 0]);
    }

    #[test]
    fn sums_are_read_strictly() {
        let hex = "4".repeat(64);
        let sums = parse_sums(&format!("{hex}  /a/b\nnot a sum\n{}  /c\n", "4".repeat(63)));
        assert_eq!(sums.len(), 1);
        assert_eq!(sums["/a/b"].hex(), hex);
    }

    #[test]
    fn the_digest_is_the_manifests() {
        // From the manifest of an image, and the digest that the engine gives it.
        let stored = |size, hex: &str| Stored {
            size,
            digest: Digest::try_from(format!("sha256:{hex}")).unwrap(),
        };
        let files = BTreeMap::from([
            ("initramfs.img", stored(1, &"0".repeat(64))),
            ("root.squashfs", stored(2, &"1".repeat(64))),
        ]);
        let text = vexp_api::digest::canonical_json(&files).unwrap();
        let zero = "0".repeat(64);
        assert!(
            text.starts_with(&format!(
                "{{\"initramfs.img\":{{\"digest\":\"sha256:{zero}\",\"size\":1}}"
            )),
            "{text}"
        );
    }

    #[test]
    fn changed_answers_about_images_are_read_or_refused() {
        use vexp_testkit::hostile::on_changed_text as on;
        let sums = format!("{}  /var/lib/vexp/images/ab/vmlinuz\n", "0".repeat(64));
        on(100, &sums, |text| drop(parse_sums(text)));
        let devices = "/dev/loop1 /var/lib/vexp/images/ab/root.squashfs\n";
        on(100, devices, |text| drop(attached(text)));
    }
}
