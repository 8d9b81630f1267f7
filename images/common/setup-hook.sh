#!/bin/sh
# Runs before anything is installed: no service may start, invoke-rc.d has nothing to say, and there are devices.
set -eu
root=$1
mkdir -p "$root/usr/sbin"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

# Root has made device nodes by now. An ordinary user can't, and gets those of the computer, in this build's own mount
# namespace. (mmdebstrap would also mount pseudo terminals for a user of number 5, whom a user namespace does not have.)
mkdir -p "$root/dev"
for node in null zero full random urandom tty; do
    [ ! -e "$root/dev/$node" ] || continue
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
