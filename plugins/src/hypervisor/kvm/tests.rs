use vexp_api::plugin::Hypervisor as _;
use vexp_testkit::{FakeShell, context};

use super::*;
use crate::hypervisor::testing::{self, host, machine, slot};
use crate::testing::name;

const PREPARE: &str = include_str!("../../../testdata/transcripts/kvm-prepare.txt");

fn kvm(nic: &str) -> Machine {
    Machine {
        nic: Some(name(nic)),
        ..machine("kvm", "6.12")
    }
}

async fn prepare(transcript: &str, machine: &Machine) -> Result<BTreeMap<String, String>, String> {
    testing::prepare(&Kvm, transcript, machine).await
}

#[tokio::test]
async fn prepare_bridges_and_creates_a_machine_under_kvm() {
    let facts = prepare(PREPARE, &kvm("virtio")).await.unwrap();
    assert_eq!(facts["qemu"], "10.0.13");
    assert_eq!(facts["kernel"], "6.12.107+deb13-amd64");
    assert_eq!(facts["data_bridge.0"], "br-data0 data0");
}

#[tokio::test]
async fn prepare_fails_where_the_plan_is_not_met() {
    let error = prepare(PREPARE, &machine("kvm", "6.1")).await.unwrap_err();
    assert!(error.contains("but the plan says 6.1"), "{error}");
    let error = prepare("", &kvm("rtl8139")).await.unwrap_err();
    assert!(error.contains("expected virtio or e1000"), "{error}");
    let without = PREPARE.replace("\"enabled\": true", "\"enabled\": false");
    let error = prepare(&without, &kvm("virtio")).await.unwrap_err();
    assert!(error.contains("without KVM"), "{error}");
    let silent = PREPARE.split("{\"QMP\"").next().unwrap();
    let error = prepare(silent, &kvm("virtio")).await.unwrap_err();
    assert!(error.contains("did not answer"), "{error}");
}

const QEMU: &str = "qemu-system-x86_64 -name vm1 -accel kvm -cpu host -machine pc,hpet=off -smp 1 -m 224M \
    -nodefaults -no-user-config -display none -no-reboot -kernel /srv/guest/boot/vmlinuz \
    -initrd /run/vexp/guests/vm1/initramfs -append \"console=ttyS0 quiet panic=-1 net.ifnames=0 \
    mitigations=off random.trust_cpu=on pci=noearly\" -drive if=none,id=root,file=/dev/vdb,format=raw,readonly=on \
    -device virtio-blk-pci,drive=root -serial file:/run/vexp/guests/vm1/console \
    -qmp unix:/run/vexp/guests/vm1/qmp,server=on,wait=off \
    -netdev tap,id=nic0,ifname=tap-00010001,script=no,downscript=no \
    -device virtio-net-pci,netdev=nic0,mac=52:54:00:01:00:01,romfile= \
    -netdev tap,id=nic1,ifname=tap-00020001,script=no,downscript=no \
    -device DEVICE,netdev=nic1,mac=52:54:00:02:00:01,romfile= \
    -daemonize -pidfile /run/vexp/guests/vm1/pid";

fn boot(device: &str) -> String {
    format!(
        "$ mkdir -p -m 0700 -- /run/vexp/guests/vm1\n\
         $ dd if=/srv/guest/boot/initramfs.img of=/run/vexp/guests/vm1/initramfs bs=1M status=none\n\
         $ dd of=/run/vexp/guests/vm1/initramfs oflag=append conv=notrunc status=none\n\
         $ ip -batch -\n\
         $ {}\n",
        QEMU.replace("DEVICE", device)
    )
}

const CLEAN: &str = "$ ip -force -batch -\n$ rm -rf -- /run/vexp/guests/vm1\n";

#[tokio::test]
async fn guests_with_either_nic() {
    for (nic, device) in [("virtio", "virtio-net-pci"), ("e1000", "e1000")] {
        let stop = "$ tail -c 4000 -- /run/vexp/guests/vm1/console\nvexp: ready vm1\n\
            $ cat -- /run/vexp/guests/vm1/pid\n402\n\
            $ kill -TERM 402\n\
            $ tail -s 0.1 -f --pid=402 /dev/null\n";
        let shell = FakeShell::replay(name("host"), &format!("{}{stop}{CLEAN}", boot(device)));
        let (_folder, slot) = slot();
        let guest = Kvm
            .boot(&host(&shell), &slot, &kvm(nic), &context())
            .await
            .unwrap();
        assert_eq!(guest.console().await, "vexp: ready vm1\n");
        guest.stop().await.unwrap();
        shell.finish().unwrap();
        assert_eq!(
            String::from_utf8(shell.input("ip -batch -").unwrap()).unwrap(),
            "tuntap add dev tap-00010001 mode tap\n\
             link set dev tap-00010001 address fe:54:00:01:00:01 master ctlbr up\n\
             tuntap add dev tap-00020001 mode tap\n\
             link set dev tap-00020001 address fe:54:00:02:00:01 master br-data0 up\n"
        );
        assert_eq!(
            String::from_utf8(shell.input("ip -force -batch -").unwrap()).unwrap(),
            "link delete dev tap-00010001\nlink delete dev tap-00020001\n"
        );
    }
}

#[tokio::test]
async fn a_guest_that_does_not_start_leaves_nothing() {
    let failed = format!(
        "{}! 1 Could not access KVM kernel module\n{CLEAN}",
        boot("e1000")
    );
    let shell = FakeShell::replay(name("host"), &failed);
    let (_folder, slot) = slot();
    let error = Kvm
        .boot(&host(&shell), &slot, &kvm("e1000"), &context())
        .await
        .err()
        .unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("Could not access KVM"), "{source}");
    shell.finish().unwrap();
}

#[tokio::test]
async fn stopping_goes_on_after_a_failure_and_ends_what_will_not_end() {
    let cat = "$ cat -- /run/vexp/guests/vm1/pid\n";
    let wait = "$ tail -s 0.1 -f --pid=402 /dev/null\n";
    let cases = [
        // SIGTERM is not enough.
        (
            format!("{cat}402\n$ kill -TERM 402\n{wait}! 124 late\n$ kill -KILL 402\n{wait}"),
            true,
        ),
        // It is gone already.
        (
            format!("{cat}402\n$ kill -TERM 402\n! 1 No such process\n"),
            true,
        ),
        // It has removed its file.
        (format!("{cat}! 1 No such file or directory\n"), true),
        // There is no PID in it.
        (format!("{cat}-1\n"), false),
        // Nothing helps.
        (
            format!(
                "{cat}402\n$ kill -TERM 402\n{wait}! 124 late\n$ kill -KILL 402\n{wait}! 124 late\n"
            ),
            false,
        ),
    ];
    for (stop, fine) in cases {
        let shell = FakeShell::replay(name("host"), &format!("{}{stop}{CLEAN}", boot("e1000")));
        let (_folder, slot) = slot();
        let guest = Kvm
            .boot(&host(&shell), &slot, &kvm("e1000"), &context())
            .await
            .unwrap();
        assert_eq!(guest.stop().await.is_ok(), fine, "{stop}");
        shell.finish().unwrap();
    }
}

#[test]
fn changed_answers_of_qemu_are_read_or_refused() {
    use vexp_testkit::hostile::on_changed_text as on;
    let probe = r#"{"QMP": {"version": {"qemu": {"micro": 3, "minor": 0, "major": 10}, "package": ""}}}
{"return": {"enabled": true, "present": true}}
"#;
    on(200, probe, |text| drop(command::parse_probe(text)));
    on(100, "301 qemu-system-x86_64 -name vm1 -m 64\n", |text| {
        assert_eq!(command::parse_list(text).len(), text.lines().count());
    });
}
