#!/bin/sh
# resolve.sh IMAGE_DIR APT_DIR > lock
#
# Turns the package names of an image into an exact list, one line a package, sorted:
#
#     KIND PACKAGE VERSION ARCH SHA256 SIZE POOL_FILENAME
#
# KIND is `install` (unpacked and configured by dpkg) or `extract` (only files are taken out of it: kernel, hypervisor).
# APT_DIR holds apt's own state for the suite and can be shared by images of one suite; the host's apt is
# neither touched nor asked for anything but the way to the archive. APT_DIR/released says of when the archive is.
set -eu
here=$(dirname "$(readlink -f "$0")")
image=$1
mkdir -p "$2"
state=$(readlink -f "$2")
read -r suite < "$image/suite"
mirror=$("$here/mirror.sh")

etc=$state/etc
mkdir -p "$state/lists/partial" "$state/archives/partial" "$etc/apt.conf.d" "$etc/sources.list.d" "$etc/preferences.d" "$etc/trusted.gpg.d"
: > "$state/status"
# Debian's own keys, and no other that the host's apt trusts.
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$etc/sources.list"
# How to get to the archive is the host's business: its proxies, and the passwords in its auth.conf. What comes is not.
apt-config dump | grep -E '^Acquire::(http|https)(::[A-Za-z0-9.-]+)?::(Proxy|CAInfo) ' > "$etc/way" || :
cat > "$state/apt.conf" <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "$state";
Dir::State::Lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Cache::archives "$state/archives";
Dir::Etc "$etc";
Dir::Etc::main "apt.conf";
Dir::Etc::parts "apt.conf.d";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "sources.list.d";
Dir::Etc::preferences "preferences";
Dir::Etc::preferencesparts "preferences.d";
Dir::Etc::trusted "trusted.gpg";
Dir::Etc::trustedparts "trusted.gpg.d";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
CONF
cat "$etc/way" >> "$state/apt.conf"
export APT_CONFIG="$state/apt.conf"
[ -e "$state/updated" ] || { apt-get -qq update; : > "$state/updated"; }
# Of when the archive is, in seconds since 1970: a signature does not say that it is the newest one.
date -u -d "$(sed -n 's/^Date: //p' "$state"/lists/*Release | head -n 1)" +%s > "$state/released"

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
