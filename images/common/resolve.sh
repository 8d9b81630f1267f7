#!/bin/sh
# resolve.sh IMAGE_DIR APT_DIR > lock
#
# Turns the package names of an image into an exact list, one line a package, sorted:
#
#     KIND PACKAGE VERSION ARCH SHA256 SIZE POOL_FILENAME
#
# KIND is `install` (unpacked and configured by dpkg) or `extract` (only files are taken out of it: kernel, hypervisor).
# APT_DIR holds apt's own state for the suite and can be shared by images of one suite; the host's apt is not touched.
set -eu
here=$(dirname "$(readlink -f "$0")")
image=$1
mkdir -p "$2"
state=$(readlink -f "$2")
read -r suite < "$image/suite"
mirror=$("$here/mirror.sh")

mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/etc"
: > "$state/status"
echo "deb $mirror $suite main" > "$state/etc/sources.list"
cat > "$state/apt.conf" <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "$state";
Dir::State::Lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Cache::archives "$state/archives";
Dir::Etc::sourcelist "$state/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::preferences "/dev/null";
CONF
export APT_CONFIG="$state/apt.conf"
[ -e "$state/updated" ] || { apt-get -qq update; : > "$state/updated"; }

# The Packages index (compressed or not, as the host's apt is configured) as "filename package version arch", to join with what apt would download.
/usr/lib/apt/apt-helper cat-file "$state"/lists/*_Packages* | awk '
    /^Package: /      { p = $2 } /^Version: /  { v = $2 } /^Architecture: / { a = $2 }
    /^Filename: /     { f = $2 } /^SHA256: /   { s = $2 } /^Size: /         { z = $2 }
    /^$/              { print f, p, v, a, s, z }' | LC_ALL=C sort > "$state/index"

pick() { # KIND, apt arguments
    kind=$1; shift
    apt-get -qq --print-uris install "$@" | sed "s/^'//; s/' .*//; s|^$mirror||; s/%2b/+/g; s/%7e/~/g; s/%3a/:/g" |
        LC_ALL=C sort | LC_ALL=C join - "$state/index" | awk -v k="$kind" '{ print k, $2, $3, $4, $5, $6, $1 }'
}
{
    pick install '?essential' $(cat "$image/packages")
    # Kernels come through a meta package; of what it would pull in only the kernel itself is wanted.
    pick extract $(cat "$image/extract") | awk '$2 ~ /^(linux-image-[0-9]|xen-hypervisor-[0-9])/'
} | LC_ALL=C sort
