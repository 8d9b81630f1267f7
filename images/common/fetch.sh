#!/bin/sh
# fetch.sh LOCK CACHE
#
# Puts every package of LOCK into CACHE as SHA256.deb, verified; what is already there is not fetched again.
set -eu
here=$(dirname "$(readlink -f "$0")")
lock=$1 cache=$2
mkdir -p "$cache"
mirror=
set --
while read -r _ _ _ _ sha256 _ filename; do
    [ -e "$cache/$sha256.deb" ] && continue
    [ -n "$mirror" ] || mirror=$("$here/mirror.sh")
    set -- "$@" "$mirror$filename" "$cache/$sha256.part" "SHA256:$sha256"
done < "$lock"
[ $# -eq 0 ] && exit 0
/usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root download-file "$@" >&2
for part in "$cache"/*.part; do
    mv "$part" "${part%.part}.deb"
done
