#!/bin/sh
# Runs before anything is installed: no service may start, and invoke-rc.d has nothing to say.
set -eu
root=$1
mkdir -p "$root/usr/sbin"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
