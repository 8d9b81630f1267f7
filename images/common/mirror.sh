#!/bin/sh
# Prints the base address of the Debian archive that this host's own apt is configured with.
# No address is written down anywhere in the repository.
set -eu
if [ -n "${VEXP_DEBIAN_MIRROR-}" ]; then
    echo "$VEXP_DEBIAN_MIRROR"
    exit
fi
apt-get indextargets --format '$(LABEL)|$(CREATED_BY)|$(REPO_URI)' |
    awk -F'|' '$1 == "Debian" && $2 == "Packages" { print $3; found = 1; exit } END { exit !found }'
