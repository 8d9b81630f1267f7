#!/bin/sh
# finish.sh ROOT: takes away what a running system does not need and what would differ between two builds.
# Runs after mmdebstrap's own clean-up, last before mksquashfs.
set -eu
root=$1
for node in "$root"/dev/*; do
    ! mountpoint -q "$node" || umount "$node"
done
rm -rf "$root"/var/log/* "$root"/var/cache/* "$root"/var/lib/apt "$root"/var/lib/dpkg/*-old "$root"/var/lib/dpkg/lock* \
    "$root"/var/lib/dpkg/info/*.md5sums "$root"/var/lib/systemd "$root"/var/lib/ucf/*.[0-9] "$root"/var/backups/* \
    "$root"/etc/apt "$root"/etc/machine-id "$root"/var/lib/dbus/machine-id \
    "$root"/etc/*- "$root"/etc/mtab "$root"/etc/.pwd.lock "$root"/run/* "$root"/tmp/* "$root"/dev/* \
    "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/share/info "$root"/usr/share/common-licenses \
    "$root"/usr/sbin/policy-rc.d "$root"/usr/lib/systemd "$root"/usr/lib/udev/hwdb.d
find "$root" -name __pycache__ -prune -exec rm -rf {} +
mkdir -p "$root/var/log" "$root/var/cache" "$root/dev"
: > "$root/etc/machine-id"
ln -s ../proc/self/mounts "$root/etc/mtab"
# mksquashfs takes every time from SOURCE_DATE_EPOCH; sizes of folders and their order come from the names alone.
