//! The checks on machines that we do not have.

use std::collections::BTreeMap;

use super::super::outside::{LOW_PORTS, PING_RANGE, RESOLV_CONF};
use super::*;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

/// A machine where all is well, for the tests to break.
struct Fake {
    files: BTreeMap<&'static str, &'static str>,
    devices: BTreeMap<&'static str, io::ErrorKind>,
    programs: bool,
    uid: u32,
    directory: Result<PathBuf, String>,
    trials: Vec<(Step, i32)>,
    ways_out: [bool; 2],
}

fn healthy() -> Fake {
    Fake {
        files: BTreeMap::from([
            ("/proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread errno"),
            (PING_RANGE, "0\t2147483647"),
            (RESOLV_CONF, "# of the machine\nnameserver 192.0.2.53\n"),
            (LOW_PORTS, "0"),
            ("/etc/subuid", "bob:100000:65536\nalice:165536:65536\n"),
            ("/etc/subgid", "1000:165536:65536\n"),
        ]),
        ways_out: [true; 2],
        devices: BTreeMap::new(),
        programs: true,
        uid: 1000,
        directory: Ok("/run/user/1000/netherd/default".into()),
        trials: vec![
            (Step::UserNamespace, 0),
            (Step::Ids, 0),
            (Step::Namespaces, 0),
            (Step::Tap, 0),
            (Step::Veth, 0),
            (Step::Ping, 0),
            (Step::Proc, 0),
            (Step::Nested, 0),
            (Step::Landlock, 0),
        ],
    }
}

impl Fake {
    fn file(mut self, path: &'static str, text: &'static str) -> Fake {
        self.files.insert(path, text);
        self
    }

    fn device(mut self, path: &'static str, error: io::ErrorKind) -> Fake {
        self.devices.insert(path, error);
        self
    }

    fn fails(mut self, step: Step, errno: i32) -> Fake {
        self.trials.retain(|(tried, _)| *tried != step);
        self.trials.push((step, errno));
        self
    }

    /// Nothing after `step` was tried.
    fn ends_with(mut self, step: Step, errno: i32) -> Fake {
        self.trials.retain(|(tried, _)| *tried < step);
        self.trials.push((step, errno));
        self
    }
}

impl Machine for Fake {
    fn read(&self, path: &str) -> io::Result<String> {
        let text = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    }
    fn read_all(&self, path: &str) -> io::Result<String> {
        self.read(path)
    }
    fn open(&self, path: &str) -> io::Result<()> {
        self.devices.get(path).map_or(Ok(()), |kind| Err((*kind).into()))
    }
    fn has_program(&self, _: &str) -> bool {
        self.programs
    }
    fn uid(&self) -> u32 {
        self.uid
    }
    fn user(&self) -> String {
        "alice".to_owned()
    }
    fn program(&self) -> PathBuf {
        "/opt/netherd".into()
    }
    fn directory(&self) -> Result<PathBuf, String> {
        self.directory.clone()
    }
    fn groups(&self) -> Vec<u32> {
        vec![1000, 27]
    }
    fn ways_out(&self) -> io::Result<[bool; 2]> {
        Ok(self.ways_out)
    }
    fn trials(&self) -> Result<Trials, String> {
        Ok(Trials::of(&self.trials))
    }
}

fn of(machine: &Fake, check: &str) -> Finding {
    all(machine).into_iter().find(|finding| finding.check == check).expect(check)
}

fn remedy(machine: &Fake, check: &str) -> String {
    of(machine, check).remedy.expect("a remedy")
}

#[test]
fn on_a_healthy_machine_all_is_well_and_nothing_is_to_do() {
    let findings = all(&healthy());
    for finding in &findings {
        assert_eq!(finding.status, Status::Ok, "{finding:?}");
        assert_eq!(finding.remedy, None, "{finding:?}");
    }
    assert!(run_can_work(&findings));
}

#[test]
fn whatever_is_wrong_has_a_remedy() {
    let mut machine = healthy().ends_with(Step::UserNamespace, EPERM);
    machine.files.clear();
    machine.programs = false;
    machine.directory = Err("no place".to_owned());
    machine = machine.device("/dev/kvm", io::ErrorKind::NotFound);
    for finding in all(&machine) {
        assert_eq!(finding.status == Status::Ok, finding.remedy.is_none(), "{finding:?}");
    }
}

#[test]
fn user_namespaces_that_are_switched_off_have_the_exact_command() {
    for (path, command) in [
        ("/proc/sys/user/max_user_namespaces", "sudo sysctl -w user.max_user_namespaces=15000"),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
    ] {
        let machine = healthy().ends_with(Step::UserNamespace, EPERM).file(path, "0");
        assert_eq!(of(&machine, USER_NAMESPACES).status, Status::No);
        assert_eq!(remedy(&machine, USER_NAMESPACES), command);
        assert!(!run_can_work(&all(&machine)));
    }
}

#[test]
fn apparmor_gets_a_profile_for_this_program() {
    let switch = |machine: Fake| machine.file(APPARMOR_SWITCH, "1");
    // Ubuntu lets the user namespace be made, and takes its capabilities.
    let machine = switch(healthy().ends_with(Step::Namespaces, EPERM));
    assert_eq!(of(&machine, NAMESPACES).status, Status::No);
    assert!(remedy(&machine, NAMESPACES).contains("profile netherd /opt/netherd flags="));
    assert_eq!(of(&machine, "AppArmor restriction").status, Status::Limited);
    // With the profile in place, the trial succeeds although the switch is on.
    let machine = switch(healthy());
    assert_eq!(of(&machine, "AppArmor restriction").status, Status::Ok);
    assert!(run_can_work(&all(&machine)));
}

#[test]
fn a_container_without_a_fresh_proc_cannot_run_guests() {
    let machine = healthy().fails(Step::Proc, EPERM);
    assert_eq!(of(&machine, "fresh /proc").status, Status::No);
    assert!(remedy(&machine, "fresh /proc").contains("systempaths=unconfined"));
    assert!(!run_can_work(&all(&machine)));
}

#[test]
fn without_tun_a_veth_pair_serves() {
    let machine =
        healthy().fails(Step::Tap, ENOENT).device("/dev/net/tun", io::ErrorKind::NotFound);
    assert_eq!(of(&machine, "/dev/net/tun").status, Status::Limited);
    assert!(remedy(&machine, "/dev/net/tun").starts_with("sudo modprobe tun"));
    assert!(run_can_work(&all(&machine)));

    let machine =
        healthy().fails(Step::Tap, EACCES).device("/dev/net/tun", io::ErrorKind::PermissionDenied);
    assert!(remedy(&machine, "/dev/net/tun").starts_with("sudo chmod 0666"));

    let machine = machine.fails(Step::Veth, 95);
    assert_eq!(of(&machine, "/dev/net/tun").status, Status::No);
    assert!(!run_can_work(&all(&machine)));
}

#[test]
fn what_run_does_not_need_never_fails_the_command() {
    let mut machine = healthy()
        .fails(Step::Ping, EACCES)
        .fails(Step::Landlock, 38)
        .device("/dev/kvm", io::ErrorKind::PermissionDenied);
    machine.programs = false;
    let limited: Vec<&str> = all(&machine)
        .iter()
        .filter(|finding| finding.status == Status::Limited)
        .map(|finding| finding.check)
        .collect();
    assert_eq!(limited, ["ping in guests", "subordinate ids", "Landlock", "/dev/kvm"]);
    assert!(run_can_work(&all(&machine)));
}

#[test]
fn subordinate_ids_name_the_missing_part() {
    let mut machine = healthy();
    assert_eq!(of(&machine, "subordinate ids").status, Status::Ok);
    machine.files.insert("/etc/subuid", "bob:100000:65536\n");
    assert_eq!(
        remedy(&machine, "subordinate ids"),
        "sudo usermod --add-subuids 231072-296607 alice",
        "neither bob's range, nor one that groups have"
    );
    machine.uid = 0;
    assert_eq!(of(&machine, "subordinate ids").status, Status::Ok);
}

#[test]
fn long_and_makeshift_directories_are_told() {
    let mut machine = healthy();
    machine.directory = Ok("/tmp/netherd-1000/default".into());
    assert_eq!(of(&machine, "runtime directory").status, Status::Limited);
    machine.directory = Ok("/tmp/netherd-1000.2/default".into());
    assert_eq!(of(&machine, "runtime directory").status, Status::Limited);
    // What the variable names may be there as well.
    for named in ["/tmp/run", "/tmp", "/tmp/netherd-1000"] {
        machine.directory = Ok(format!("{named}/netherd/default").into());
        let found = of(&machine, "runtime directory");
        assert_eq!((found.status, found.found), (Status::Ok, format!("{named}/netherd")));
    }
    machine.directory = Ok(format!("/run/{}", "x".repeat(95)).into());
    assert_eq!(of(&machine, "VDE clients").status, Status::Limited);
}

#[test]
fn without_the_helper_there_are_no_real_devices_and_nothing_else_is_missing() {
    let machine = healthy().device(host::uplink::HELPER, io::ErrorKind::NotFound);
    let findings = all(&machine);
    let limited: Vec<&Finding> = findings.iter().filter(|it| it.status != Status::Ok).collect();
    assert_eq!(limited.len(), 1, "{limited:?}");
    assert_eq!((limited[0].check, limited[0].status), ("network devices", Status::Limited));
    assert!(run_can_work(&findings));
    // A socket that is there.
    let machine = healthy().device(host::uplink::HELPER, io::ErrorKind::Other);
    assert!(all(&machine).iter().all(|it| it.status == Status::Ok));
}

#[test]
fn what_does_not_lead_out_is_told() {
    let machine = healthy().file(PING_RANGE, "1\t0");
    assert_eq!(of(&machine, "ping to the outside").status, Status::Limited);
    assert!(remedy(&machine, "ping to the outside").contains("ping_group_range=\"0 2147483647\""));
    // One of the groups is enough.
    let machine = healthy().file(PING_RANGE, "27 27");
    assert_eq!(of(&machine, "ping to the outside").status, Status::Ok);

    let mut machine = healthy();
    machine.ways_out = [true, false];
    assert_eq!(of(&machine, "way out").found, "IPv4 only");
    assert_eq!(of(&machine, "way out").status, Status::Limited);
    machine.ways_out = [false, false];
    assert_eq!(of(&machine, "way out").found, "none: the machine has no default route");

    let machine = healthy().file(RESOLV_CONF, "options edns0\n");
    assert_eq!(of(&machine, "resolvers").status, Status::Limited);
    assert!(of(&machine, "resolvers").found.contains("127.0.0.1 is asked"));
    let machine = healthy().file(RESOLV_CONF, "nameserver 127.0.0.53\nnameserver ::1\n");
    assert_eq!(of(&machine, "resolvers").found, "127.0.0.53, ::1");

    let machine = healthy().file(LOW_PORTS, "1024");
    let found = of(&machine, "ports to publish");
    assert_eq!((found.status, found.found.as_str()), (Status::Limited, "from 1024 on"));
    assert!(remedy(&machine, "ports to publish").contains("ip_unprivileged_port_start"));
    let mut machine = machine;
    machine.uid = 0;
    assert_eq!(of(&machine, "ports to publish").status, Status::Ok);
    assert!(run_can_work(&all(&machine)));
}
