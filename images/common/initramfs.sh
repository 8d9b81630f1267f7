#!/bin/sh
# initramfs.sh ROOT MODULES OUT
#
# A tiny initramfs: static busybox, the modules of modules-boot and /init. Not compressed: it is 3 MB, and the emulated
# processor would have to unpack it. The booter appends a second cpio with the folder /vexp.
set -eu
here=$(dirname "$(readlink -f "$0")")
root=$1 modules=$(readlink -f "$2") out=$3
version=$(basename "$modules")
tree=$(mktemp -d)
mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/new" "$tree/lib/modules/$version"
cp "$root/bin/busybox" "$tree/bin/busybox"
for applet in sh mount mkdir ln modprobe switch_root cat sleep poweroff losetup mknod; do
    ln -s busybox "$tree/bin/$applet"
done
source=$modules/../../../..
: > "$tree/lib/modules/$version/modules.order"
: > "$tree/lib/modules/$version/modules.builtin"
# Only what the boot needs, taken from the root's own (already uncompressed) modules.
wanted=$(sed 's/#.*//' "$here/modules-boot")
cd "$modules"
for name in $wanted; do
    grep -E "/$(printf %s "$name" | sed 's/[-_]/[-_]/g')\.ko:" modules.dep || :
done | tr ': ' '\n\n' | grep . | LC_ALL=C sort -u > "$tree/.list"
while read -r m; do
    mkdir -p "$tree/lib/modules/$version/${m%/*}"
    cp "$m" "$tree/lib/modules/$version/$m"
    grep "^$m:" modules.dep >> "$tree/lib/modules/$version/modules.dep"
done < "$tree/.list"
rm "$tree/.list"
cp "$here/init" "$tree/init"
chmod 755 "$tree/init" "$tree/bin/busybox"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
cd "$tree"
find . | LC_ALL=C sort | cpio --quiet --create --format=newc --reproducible --owner=0:0 > "$out"
rm -rf "$tree"
