use vexp_api::plugin::Hypervisor as _;
use vexp_testkit::{FakeShell, context};

use super::*;
use crate::hypervisor::testing::{self, host, machine, slot};
use crate::testing::name;

const PREPARE: &str = include_str!("../../../testdata/transcripts/xl-prepare.txt");
const PREPARE_XM: &str = include_str!("../../../testdata/xen-3.x/xm-prepare.txt");

fn xen() -> Machine {
    Machine {
        scheduler: Some(name("credit")),
        dom0_weight: Some(8192),
        ..machine("xen", "4.20")
    }
}

async fn prepare(transcript: &str, machine: &Machine) -> Result<BTreeMap<String, String>, String> {
    testing::prepare(&Xen, transcript, machine).await
}

#[tokio::test]
async fn prepare_bridges_weighs_and_reads_back() {
    let facts = prepare(PREPARE, &xen()).await.unwrap();
    let fact = |key: &str| facts[key].as_str();
    assert_eq!(fact("data_bridge.0"), "br-data0 data0");
    assert_eq!(fact("dom0_weight"), "8192");
    assert_eq!(fact("xen_version"), "4.20.4-pre");
    assert_eq!(fact("xen_scheduler"), "credit");
    assert_eq!(fact("kernel"), "6.12.107+deb13-amd64");
}

#[tokio::test]
async fn prepare_fails_where_the_plan_is_not_met() {
    let other = |change: fn(&mut Machine)| {
        let mut machine = xen();
        change(&mut machine);
        machine
    };
    let version = other(|m| m.version = "4.17".to_owned());
    let error = prepare(PREPARE, &version).await.unwrap_err();
    assert!(
        error.contains("Xen 4.20.4-pre runs, but the plan says 4.17"),
        "{error}"
    );
    let scheduler = other(|m| m.scheduler = Some(name("credit2")));
    let error = prepare(PREPARE, &scheduler).await.unwrap_err();
    assert!(error.contains("boot it with sched=credit2"), "{error}");
    let toolstack = other(|m| m.toolstack = Some(name("virsh")));
    let error = prepare("", &toolstack).await.unwrap_err();
    assert!(error.contains("expected xl or xm"), "{error}");
    let wrong = PREPARE.replace(
        "Domain-0                             0   8192",
        "Domain-0                             0    256",
    );
    let error = prepare(&wrong, &xen()).await.unwrap_err();
    assert!(
        error.contains("dom0's weight is 256, but the plan says 8192"),
        "{error}"
    );
    let none = PREPARE.replace("Domain-0                             0   8192    0\n", "");
    let error = prepare(&none, &xen()).await.unwrap_err();
    assert!(error.contains("printed no weight"), "{error}");
    let credit2 = PREPARE.replace(
        "xen_scheduler          : credit\n",
        "xen_scheduler          : credit2\n",
    );
    let any = other(|m| m.scheduler = None);
    let error = prepare(&credit2, &any).await.unwrap_err();
    assert!(error.contains("can't be given a weight"), "{error}");
}

#[tokio::test]
async fn xm_speaks_its_own_language() {
    let machine = Machine {
        version: "3.1.0".to_owned(),
        toolstack: Some(name("xm")),
        ..xen()
    };
    let facts = prepare(PREPARE_XM, &machine).await.unwrap();
    assert_eq!(facts["xen_version"], "3.1.0");
    assert_eq!(facts["dom0_weight"], "8192");
    let unknown = PREPARE_XM.replace("  8192    0", "    -1   -1");
    let error = prepare(&unknown, &machine).await.unwrap_err();
    assert!(error.contains("printed no weight"), "{error}");
}

/// What a guest's life looks like to the host's shell.
fn life(program: &str) -> String {
    let scripts = match program {
        "xl" => "$ test -x /etc/xen/scripts/vif-vexp\n! 1 \n",
        _ => "",
    };
    format!(
        "$ mkdir -p -m 0700 -- /run/vexp/guests/vm1\n\
         $ dd if=/srv/guest/boot/initramfs.img of=/run/vexp/guests/vm1/initramfs bs=1M status=none\n\
         $ dd of=/run/vexp/guests/vm1/initramfs oflag=append conv=notrunc status=none\n\
         {scripts}> /run/vexp/guests/vm1/config\n\
         $ {program} create /run/vexp/guests/vm1/config\n\
         Parsing config from /run/vexp/guests/vm1/config\n\
         $ tail -c 4000 -- /var/log/xen/console/guest-vm1.log\n\
         vexp: ready vm1\n\
         $ {program} destroy vm1\n\
         $ rm -rf -- /run/vexp/guests/vm1\n"
    )
}

async fn live(program: &str, machine: &Machine) -> FakeShell {
    let shell = FakeShell::replay(name("host"), &life(program));
    let (_folder, slot) = slot();
    let guest = Xen
        .boot(&host(&shell), &slot, machine, &context())
        .await
        .unwrap();
    assert_eq!(guest.ssh(), &slot.node.ssh);
    assert_eq!(guest.console().await, "vexp: ready vm1\n");
    guest.stop().await.unwrap();
    shell.finish().unwrap();
    let append = "dd of=/run/vexp/guests/vm1/initramfs oflag=append conv=notrunc status=none";
    assert_eq!(shell.input(append).unwrap(), b"seed");
    shell
}

#[tokio::test]
async fn a_guest_of_xl() {
    let shell = live("xl", &xen()).await;
    let config = shell.file("/run/vexp/guests/vm1/config").unwrap();
    assert_eq!(
        String::from_utf8(config).unwrap(),
        "name = \"vm1\"\n\
         type = \"pv\"\n\
         kernel = \"/srv/guest/boot/vmlinuz\"\n\
         ramdisk = \"/run/vexp/guests/vm1/initramfs\"\n\
         extra = \"console=hvc0 quiet panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on\"\n\
         memory = 224\n\
         vcpus = 1\n\
         disk = [\"phy:/dev/vdb,xvda,r\"]\n\
         vif = [\"mac=52:54:00:01:00:01,bridge=ctlbr\", \"mac=52:54:00:02:00:01,bridge=br-data0\"]\n\
         on_poweroff = \"destroy\"\n\
         on_reboot = \"destroy\"\n\
         on_crash = \"destroy\"\n"
    );
}

#[tokio::test]
async fn a_guest_of_xl_on_an_image_of_vexp() {
    let there = life("xl").replace("! 1 \n", "");
    let shell = FakeShell::replay(name("host"), &there);
    let (_folder, slot) = slot();
    Xen.boot(&host(&shell), &slot, &xen(), &context())
        .await
        .unwrap();
    let config = shell.file("/run/vexp/guests/vm1/config").unwrap();
    let config = String::from_utf8(config).unwrap();
    assert!(config.contains(
        "disk = [\"format=raw,vdev=xvda,access=r,script=block-vexp,target=/dev/vdb\"]\n\
         vif = [\"mac=52:54:00:01:00:01,bridge=ctlbr,vifname=vm1.0,script=vif-vexp\", "
    ));
}

#[tokio::test]
async fn a_guest_of_xm() {
    let machine = Machine {
        toolstack: Some(name("xm")),
        ..xen()
    };
    let shell = live("xm", &machine).await;
    let config = shell.file("/run/vexp/guests/vm1/config").unwrap();
    let config = String::from_utf8(config).unwrap();
    assert!(config.contains("builder = \"linux\"\n") && !config.contains("type ="));
}

#[tokio::test]
async fn a_domain_that_has_ended_by_itself_is_stopped() {
    let gone = life("xl").replace(
        "$ xl destroy vm1\n",
        "$ xl destroy vm1\n! 1 vm1 is an invalid domain identifier (rc=-6)\n\
         $ xl list vm1\n! 1 vm1 is an invalid domain identifier (rc=-6)\n",
    );
    let alive = gone.replace(
        "$ xl list vm1\n! 1 vm1 is an invalid domain identifier (rc=-6)\n",
        "$ xl list vm1\nvm1\n",
    );
    for (transcript, fine) in [(gone, true), (alive, false)] {
        let shell = FakeShell::replay(name("host"), &transcript);
        let (_folder, slot) = slot();
        let guest = Xen
            .boot(&host(&shell), &slot, &xen(), &context())
            .await
            .unwrap();
        guest.console().await;
        assert_eq!(guest.stop().await.is_ok(), fine);
        // The files are removed either way.
        shell.finish().unwrap();
    }
}

#[tokio::test]
async fn nothing_hostile_gets_into_a_configuration() {
    let (_folder, mut slot) = slot();
    slot.nics[1].mac = "52:54:00:02:00:01\", \"script=/bin/sh".to_owned();
    let shell = FakeShell::replay(name("host"), "");
    let error = Xen
        .boot(&host(&shell), &slot, &xen(), &context())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("not a MAC address"), "{error}");
    shell.finish().unwrap();
}
