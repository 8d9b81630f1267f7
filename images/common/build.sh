#!/bin/sh
# build.sh IMAGE_DIR LOCK CACHE WORK OUT
#
# Builds one image from exactly the packages of LOCK, found in CACHE, offline.
# WORK is a scratch folder that must not exist; OUT receives root.squashfs and, on images with a kernel, vmlinuz, initramfs.img and,
# for Xen, xen.
# The result depends on IMAGE_DIR, images/common, LOCK and the versions of mmdebstrap, dpkg and mksquashfs, and on nothing else.
set -eu
here=$(dirname "$(readlink -f "$0")")
image=$(readlink -f "$1") lock=$(readlink -f "$2") cache=$(readlink -f "$3") work=$4 out=$5
mkdir "$work"
mkdir -p "$out"
work=$(readlink -f "$work") out=$(readlink -f "$out")
read -r suite < "$image/suite"
unset APT_CONFIG
export LC_ALL=C.UTF-8 TZ=UTC0 SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1735689600} DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022

# A flat repository of the locked packages. apt asks for `?essential` by suite, hence the Release file.
mkdir "$work/repo"
while read -r kind package _ _ sha256 size _; do
    [ "$kind" = install ] || continue
    ln "$cache/$sha256.deb" "$work/repo/$package.deb" 2> /dev/null || cp "$cache/$sha256.deb" "$work/repo/$package.deb"
    dpkg-deb -f "$work/repo/$package.deb"
    printf 'Filename: ./%s.deb\nSize: %s\nSHA256: %s\n\n' "$package" "$size" "$sha256"
done < "$lock" > "$work/repo/Packages"
printf 'Suite: %s\nCodename: %s\nArchitectures: amd64\nSHA256:\n %s %s Packages\n' "$suite" "$suite" \
    "$(sha256sum < "$work/repo/Packages" | cut -d' ' -f1)" "$(wc -c < "$work/repo/Packages")" > "$work/repo/Release"

# Kernel and hypervisor are unpacked beside the root, never installed: their maintainer scripts would build an initramfs
# with udev and a boot loader's menu.
mkdir "$work/extract"
while read -r kind _ _ _ sha256 _; do
    [ "$kind" = extract ] || continue
    dpkg-deb -x "$cache/$sha256.deb" "$work/extract"
done < "$lock"

export VEXP_COMMON="$here" VEXP_IMAGE="$image" VEXP_EXTRACT="$work/extract" VEXP_OUT="$out"
TMPDIR=$work mmdebstrap --quiet --mode=root --format=directory --variant=essential \
    --include="$(awk '$1 == "install" { printf "%s%s", c, $2; c = "," }' "$lock")" \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='APT::Sandbox::User "root"' \
    --dpkgopt='force-unsafe-io' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/bash-completion/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --skip=chroot/mount/dev \
    --setup-hook='"$VEXP_COMMON/setup-hook.sh" "$1"' \
    --customize-hook='"$VEXP_COMMON/customize.sh" "$1"' \
    "$suite" "$work/root" "deb [trusted=yes] copy:$work/repo ./"

"$here/finish.sh" "$work/root"
# Everything is root's: an ordinary user, who builds in a user namespace, can give files to nobody else.
mksquashfs "$work/root" "$out/root.squashfs" -all-root -quiet -no-progress -noappend -no-xattrs -comp zstd -Xcompression-level 9 -b 128K
rm -rf "$work"
