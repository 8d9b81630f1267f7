#!/bin/sh
# up.sh FOLDER IMAGE USER MACHINE…: machines for testbed `hosts` as network namespaces, each with an sshd of its own and the root of
# the guest image. Run as the first process of new network, mount and process namespaces; all ends with its input.
#
# Machine N has 10.99.0.N on the control network and NIC eth1 on the data network, with 198.18.0.N unless its name begins with
# `rack`: a machine under test gets its address from the run. FOLDER gets known_hosts, and has the key `client`, which USER logs
# in with. One that is not root may become root by sudo. sshd and sudo, which the image has not, are this computer's.
set -eu
folder=$1 image=$2 user=$3
shift 3
mount -t tmpfs -o mode=755 rack /run
mkdir -p /run/netns /run/lower /run/machines
mount -t squashfs -o ro,loop "$image" /run/lower
ip link set lo up
for bridge in ctl data; do
    ip link add "$bridge" type bridge
    ip link set "$bridge" up
done
ip address add 10.99.0.254/24 dev ctl
number=0
: > "$folder/known_hosts"
for name; do
    number=$((number + 1))
    ip netns add "$name"
    ip link add "c$number" type veth peer name ctl0 netns "$name"
    ip link add "d$number" type veth peer name eth1 netns "$name"
    ip link set "c$number" master ctl up
    ip link set "d$number" master data up
    ip -n "$name" link set lo up
    ip -n "$name" address add "10.99.0.$number/24" dev ctl0
    ip -n "$name" link set ctl0 up
    case $name in
        rack*) ;;
        *) ip -n "$name" address add "198.18.0.$number/24" dev eth1 ;;
    esac
    ip -n "$name" link set eth1 up
    root=/run/machines/$name
    mkdir -p "$root.up" "$root.work" "$root"
    mount -t overlay -o "lowerdir=/run/lower:/,upperdir=$root.up,workdir=$root.work" root "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom tty; do
        : > "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t tmpfs -o mode=755 run "$root/run"
    mkdir -p "$root/run/sshd" "$root/run/keys" "$root/root"
    echo "sshd:x:999:65534::/run/sshd:/usr/sbin/nologin" >> "$root/etc/passwd"
    if [ "$user" != root ]; then
        echo "$user:x:1000:1000::/home/$user:/bin/sh" >> "$root/etc/passwd"
        echo "$user:*:19000:0:99999:7:::" >> "$root/etc/shadow"
        echo "$user:x:1000:" >> "$root/etc/group"
        mkdir -p "$root/home/$user" "$root/etc/sudoers.d"
        chown 1000:1000 "$root/home/$user"
        echo "$user ALL=(ALL) NOPASSWD: ALL" > "$root/etc/sudoers.d/$user"
        chmod 440 "$root/etc/sudoers.d/$user"
    fi
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$root/run/keys/host"
    cp "$folder/client.pub" "$root/run/keys/authorized"
    read -r kind key _ < "$root/run/keys/host.pub"
    echo "10.99.0.$number $kind $key" >> "$folder/known_hosts"
    # MaxSessions and MaxStartups are sshd's own defaults, as on machines that nobody has tuned.
    cat > "$root/run/keys/config" << CONFIG
HostKey /run/keys/host
AuthorizedKeysFile /run/keys/authorized
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
CONFIG
    # sysfs shows the network of who mounts it.
    ip netns exec "$name" sh -c 'mount -t sysfs sys "$1/sys"; exec chroot "$1" /usr/sbin/sshd -D -e -f /run/keys/config' \
        sshd "$root" 2> "$folder/$name.log" < /dev/null &
done
echo READY
cat > /dev/null
