#!/bin/sh
# customize.sh ROOT: adds the kernel's modules, vexp's own files and the initramfs to an installed root.
# From build.sh: VEXP_COMMON, VEXP_IMAGE, VEXP_EXTRACT (unpacked kernel and hypervisor), VEXP_OUT.
set -eu
root=$1

rm -f "$root/etc/motd" "$root/etc/hostname" "$root/etc/resolv.conf"
echo '127.0.0.1 localhost' > "$root/etc/hosts"
# An image without a kernel never boots: its programs are run where it is mounted.
ls "$VEXP_EXTRACT"/boot/vmlinuz-* > /dev/null 2>&1 || exit 0

# --- kernel: the image itself, and of its modules only those listed, with what they need, uncompressed
# (the emulated processor would spend its time in xz).
kernel=$(ls "$VEXP_EXTRACT"/boot/vmlinuz-*)
version=${kernel##*/vmlinuz-}
cp "$kernel" "$VEXP_OUT/vmlinuz"
source=$VEXP_EXTRACT/lib/modules/$version
[ -d "$source" ] || source=$VEXP_EXTRACT/usr/lib/modules/$version
target=$root/usr/lib/modules/$version
mkdir -p "$target"
cp "$source/modules.order" "$source/modules.builtin" "$source/modules.builtin.modinfo" "$target/"
"$VEXP_COMMON/modules.sh" "$source" "$target" "$VEXP_COMMON/modules-boot" "$VEXP_IMAGE/modules"

# --- hypervisor: QEMU refuses the compressed one ("linux kernel too old").
for xen in "$VEXP_EXTRACT"/boot/xen-*.gz; do
    [ -e "$xen" ] && gunzip -c "$xen" > "$VEXP_OUT/xen"
done

# --- vexp's files
cp -R "$VEXP_COMMON/root/." "$root/"
case $(basename "$VEXP_IMAGE") in
    xen-*)
        cp -R "$VEXP_COMMON/xen/." "$root/"
        chmod 755 "$root"/etc/xen/scripts/*-vexp
        ;;
esac
[ ! -d "$VEXP_IMAGE/root" ] || cp -R "$VEXP_IMAGE/root/." "$root/"
chmod -R u=rwX,go=rX "$root/usr/lib/vexp"
chmod 755 "$root/usr/lib/vexp/setup" "$root/usr/lib/vexp/ready" "$root/usr/lib/vexp/ssh-server"
# Where Dropbear looks for authorized_keys: in the seed.
rm -rf "$root/root/.ssh"
ln -s /run/vexp "$root/root/.ssh"
basename "$VEXP_IMAGE" > "$root/usr/lib/vexp/image"
# Programs that the packages do not bring (bookworm's essential set has no mount) come from busybox.
for applet in init poweroff reboot halt modprobe lsmod mount umount; do
    [ -e "$root/usr/sbin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || ln -s ../bin/busybox "$root/usr/sbin/$applet"
done
sed -i 's|^\(root:.*\):[^:]*$|\1:/bin/sh|' "$root/etc/passwd"
sed -i 's|^ENABLED=.*|ENABLED="false"|' "$root/etc/default/sysstat" 2> /dev/null || :
mkdir -p "$root/srv/guest" "$root/run"

# --- initramfs
"$VEXP_COMMON/initramfs.sh" "$root" "$target" "$VEXP_OUT/initramfs.img"
[ "$(basename "$VEXP_IMAGE")" != guest ] || {
    mkdir -p "$root/boot"
    cp "$VEXP_OUT/vmlinuz" "$VEXP_OUT/initramfs.img" "$root/boot/"
}
