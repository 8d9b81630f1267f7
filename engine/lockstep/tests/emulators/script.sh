#!/bin/busybox sh
# /init of the test's machines. role=pair: m1 pings m2 and sends it TCP, in rounds, from eight seconds of its clock on.
# role=host: m1 has a guest.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
head -c 8 /dev/random >/dev/null # or the first reader later is busy for a second
me=$(tr ' ' '\n' </proc/cmdline | sed -n s/^me=//p)
role=$(tr ' ' '\n' </proc/cmdline | sed -n s/^role=//p)
insmod /module0.ko # e1000
for nic in lo eth0 eth1; do ip link set $nic up; done
ip addr add 192.168.0.$me/24 dev eth0
ip addr add 10.0.0.$me/24 dev eth1
echo ready after $(cat /proc/uptime)
[ $role = host ] || nc -ll -p 5001 -e cat >/dev/null &
now() { read -r up rest </proc/uptime; echo ${up%.*}; }
while [ $role = pair ] && [ "$(now)" -lt 8 ]; do usleep 20000; done
if [ $role = host ]; then
    for number in 1 2 3 4; do insmod /module$number.ko; done
    guest 10
fi
round=0
while [ $role$me = pair1 ]; do
    round=$((round + 1))
    echo round $round
    ping -c 3 -i 0.02 10.0.0.2
    dd if=/dev/zero bs=64k count=80 2>/dev/null | nc 10.0.0.2 5001 >/dev/null
done
while :; do sleep 10; done
