//! Ways to run a bundle on another computer: a container, and a node of CloudLab. Both install what `vexp` asks for
//! and end at `vexp verify`.

use std::fmt::Write as _;

use super::About;
use super::appendix::megabytes;

/// Debian packages that vexp runs on, as its own package asks for them.
pub(super) const PACKAGES: &[&str] = &[
    "iproute2",
    "openssh-client",
    "util-linux",
    "mount",
    "mmdebstrap",
    "squashfs-tools",
    "debian-archive-keyring",
    "apt",
    "dpkg",
    "cpio",
    "zstd",
    "xz-utils",
    "gzip",
    "mawk",
];

/// `Dockerfile`. Names of runs have no letter that means something to Docker or a shell.
pub(super) fn dockerfile(about: &About<'_>) -> String {
    let (run, bundle) = (about.run(), about.bundle());
    let packages = PACKAGES.join(" ");
    format!(
        "# Checks this bundle in a container. In a folder with this file, {bundle} and the program\n\
         # vexp {vexp}:\n\
         #   docker build --tag {run} . && docker run --rm --network none {run}\n\
         # Measuring again needs devices and namespaces that a container has not unasked:\n\
         #   docker run --rm --privileged {run} vexp verify {bundle} --rerun\n\
         FROM debian:bookworm-slim\n\
         RUN apt-get update \\\n \
         && apt-get install --yes --no-install-recommends {packages} \\\n \
         && rm -rf /var/lib/apt/lists/*\n\
         COPY vexp /usr/local/bin/vexp\n\
         COPY {bundle} /artifact/\n\
         WORKDIR /artifact\n\
         CMD [\"vexp\", \"verify\", \"{bundle}\"]\n",
        vexp = one_line(about.vexp),
    )
}

/// `profile.py`: a profile of CloudLab in geni-lib, for a repository with this file, the bundle and vexp.
pub(super) fn profile(about: &About<'_>) -> String {
    let (run, bundle) = (about.run(), about.bundle());
    let packages = PACKAGES.join(" ");
    let disk = megabytes(about.derived.frames.run.plan.estimate.disk.bytes());
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\"\"\"One machine that checks the bundle of run {run}, and can measure it again.\n\n\
         Instructions:\n\
         The repository of this profile has this file, {bundle} and the program vexp {vexp}.\n\
         When the machine is ready, /local/verify.txt says what was found. To measure again ({disk} of disk):\n\
         cd /local/repository && {sudo}./vexp verify {bundle} --rerun --runs /local/runs\n\
         \"\"\"",
        vexp = one_line(about.vexp),
        sudo = about.sudo(),
    );
    let _ = write!(
        text,
        "\n\
         import geni.portal as portal\n\
         import geni.rspec.pg as pg\n\
         \n\
         pc = portal.Context()\n\
         pc.defineParameter(\n    \
             \"node_type\",\n    \
             \"Hardware type (empty: any)\",\n    \
             portal.ParameterType.NODETYPE,\n    \
             \"\",\n\
         )\n\
         pc.defineParameter(\n    \
             \"disk_image\",\n    \
             \"Operating system\",\n    \
             portal.ParameterType.IMAGE,\n    \
             \"urn:publicid:IDN+emulab.net+image+emulab-ops//UBUNTU24-64-STD\",\n\
         )\n\
         params = pc.bindParameters()\n\
         \n\
         request = pc.makeRequestRSpec()\n\
         node = request.RawPC(\"node\")\n\
         node.disk_image = params.disk_image\n\
         if params.node_type:\n    \
             node.hardware_type = params.node_type\n\
         node.addService(\n    \
             pg.Execute(\n        \
                 shell=\"sh\",\n        \
                 command=\"sudo apt-get update\"\n        \
                 \" && sudo apt-get install --yes --no-install-recommends {packages}\"\n        \
                 \" && cd /local/repository\"\n        \
                 \" && ./vexp verify {bundle} 2>&1 | sudo tee /local/verify.txt\",\n    \
             )\n\
         )\n\
         pc.printRequestRSpec(request)\n"
    );
    text
}

/// Text of a version in a comment: it comes from a bundle's manifest, and may be anything there.
fn one_line(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || ".+-~".contains(*c);
    text.chars().filter(plain).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_are_those_that_the_debian_package_asks_for() {
        let manifest = include_str!("../../../cli/Cargo.toml");
        let (_, depends) = manifest.split_once("depends = \"\"\"$auto,").unwrap();
        let (depends, _) = depends.split_once("\"\"\"").unwrap();
        let depends: Vec<&str> = depends
            .split(',')
            .map(|name| name.trim_matches(['\\', '\n', ' ']))
            .collect();
        assert_eq!(depends, PACKAGES);
    }

    #[test]
    fn a_version_that_is_no_version_writes_no_line() {
        assert_eq!(one_line("0.1.0+g1\nRUN rm -rf /\"\"\""), "0.1.0+g1RUNrm-rf");
    }
}
