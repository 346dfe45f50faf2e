//! The checks: from facts about the machine to a status, what was found and what to do.
//!
//! Nothing here touches the machine. [`Machine`] does, and tests put another in its place.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::trial::{Outcome, Step, Trials};
use crate::subordinate;

/// How far something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Works in part, or something else serves in its place.
    Limited,
    No,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub status: Status,
    /// What is the case, in a few words.
    pub found: String,
    /// What to do about it; nothing when all is well.
    pub remedy: Option<String>,
    /// `netherd run` cannot work unless this does.
    pub needed: bool,
}

/// What the checks ask of a machine.
pub trait Machine {
    /// The first line of a small file, without blanks at its ends.
    fn read(&self, path: &str) -> io::Result<String>;
    /// The whole of a small file.
    fn read_all(&self, path: &str) -> io::Result<String>;
    /// Whether the file can be opened for reading and writing.
    fn open(&self, path: &str) -> io::Result<()>;
    /// Whether a program of this name is in `$PATH`.
    fn has_program(&self, name: &str) -> bool;
    fn uid(&self) -> u32;
    fn user(&self) -> String;
    /// This program.
    fn program(&self) -> PathBuf;
    /// The directory that the default network has or would have, or why there is none.
    fn directory(&self) -> Result<PathBuf, String>;
    /// The groups of this process, whom the kernel lets send echo requests or not.
    fn groups(&self) -> Vec<u32>;
    /// Whether the routes of the host have a default for IPv4 and IPv6.
    fn ways_out(&self) -> io::Result<[bool; 2]>;
    /// What became of the attempts to do what `run` does.
    fn trials(&self) -> Result<Trials, String>;
}

pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, status: Status::Ok, found: found.into(), remedy: None, needed: false }
}

pub(super) fn finding(
    check: &'static str,
    status: Status,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let remedy = Some(remedy.into());
    Finding { check, status, found: found.into(), remedy, needed: false }
}

/// All checks, those that `run` needs first.
pub fn all(machine: &dyn Machine) -> Vec<Finding> {
    let trials = machine.trials();
    let mut findings = match &trials {
        Ok(trials) => {
            let mut findings = namespaces(machine, trials);
            findings.push(process_files(trials));
            findings.push(link(machine, trials));
            for finding in &mut findings {
                finding.needed = true;
            }
            findings.push(ping(trials));
            findings
        }
        Err(why) => {
            let mut broken = finding(
                "trial",
                Status::No,
                format!("the trial could not be made: {why}"),
                "run `netherd doctor` from a terminal of your own, with /proc mounted",
            );
            broken.needed = true;
            vec![broken]
        }
    };
    findings.extend(super::outside::all(machine));
    findings.push(apparmor(machine));
    findings.push(runtime_directory(machine));
    findings.push(vde_path(machine));
    findings.push(map_auto(machine));
    findings.push(seccomp(machine));
    findings.push(landlock(trials.as_ref().ok()));
    findings.push(kvm(machine));
    findings.push(network_devices(machine));
    findings
}

/// Whether `netherd run` can work.
pub fn run_can_work(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| finding.needed && finding.status == Status::No)
}

const USER_NAMESPACES: &str = "user namespaces";
const NESTED: &str = "nested user namespaces";
const NAMESPACES: &str = "network, mount and PID namespaces";

fn namespaces(machine: &dyn Machine, trials: &Trials) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (check, steps) in [
        (USER_NAMESPACES, &[Step::UserNamespace, Step::Ids][..]),
        (NAMESPACES, &[Step::Namespaces][..]),
        (NESTED, &[Step::Nested][..]),
    ] {
        let failed = steps.iter().find_map(|step| match trials.outcome(*step) {
            Outcome::Failed(errno) => Some(errno),
            _ => None,
        });
        let attempted = steps.iter().all(|step| trials.outcome(*step) != Outcome::NotTried);
        findings.push(match failed {
            Some(errno) => {
                finding(check, Status::No, refusal(errno), namespace_remedy(machine, errno))
            }
            None if attempted => ok(check, "can be made"),
            None => finding(check, Status::No, "not tried", "the check above must succeed first"),
        });
    }
    findings
}

fn refusal(errno: i32) -> String {
    format!("refused: {}", reason(&io::Error::from_raw_os_error(errno)))
}

/// The text of errno(3) without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// Why namespaces are refused, from what the kernel's settings say, most specific first.
fn namespace_remedy(machine: &dyn Machine, errno: i32) -> String {
    let is = |path: &str, value: &str| machine.read(path).is_ok_and(|found| found == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "sudo sysctl -w user.max_user_namespaces=15000".to_owned();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned();
    }
    if is(APPARMOR_SWITCH, "1") {
        return apparmor_remedy(machine);
    }
    match io::Error::from_raw_os_error(errno).kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "raise the limits in /proc/sys/user, or end the programs that hold so many namespaces"
                .to_owned()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS".to_owned()
        }
        _ => "something around netherd forbids it, often a container's seccomp profile: start the container with \
              `--security-opt seccomp=unconfined`, or use the machine itself"
            .to_owned(),
    }
}

const APPARMOR_SWITCH: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// A profile that gives this program, and no other, what the switch took from all.
fn apparmor_remedy(machine: &dyn Machine) -> String {
    let program = machine.program();
    format!(
        "echo 'abi <abi/4.0>, profile netherd {} flags=(unconfined) {{ userns, }}' | \
         sudo tee /etc/apparmor.d/netherd && sudo apparmor_parser -r /etc/apparmor.d/netherd",
        program.display()
    )
}

fn apparmor(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "AppArmor restriction";
    if machine.read(APPARMOR_SWITCH).is_ok_and(|value| value == "1") && machine.uid() != 0 {
        let mut found = finding(
            CHECK,
            Status::Limited,
            "user namespaces need a profile",
            apparmor_remedy(machine),
        );
        // The trial has shown that a profile lets us.
        if machine.trials().is_ok_and(|trials| trials.succeeded(Step::Namespaces)) {
            found = ok(CHECK, "a profile lets this program make user namespaces");
        }
        return found;
    }
    ok(CHECK, "none")
}

fn process_files(trials: &Trials) -> Finding {
    const CHECK: &str = "fresh /proc";
    match trials.outcome(Step::Proc) {
        Outcome::Worked => ok(CHECK, "can be mounted"),
        Outcome::NotTried => {
            finding(CHECK, Status::No, "not tried", "the checks above must succeed first")
        }
        // mount_too_revealing() in the kernel's fs/namespace.c.
        Outcome::Failed(errno) => finding(
            CHECK,
            Status::No,
            refusal(errno),
            "parts of /proc are covered here, as in containers, and the kernel then does not allow a fresh one: \
            start the container with `--security-opt systempaths=unconfined`, or use the machine itself",
        ),
    }
}

/// The guest's link: a tap, else a veth pair with a packet socket.
fn link(machine: &dyn Machine, trials: &Trials) -> Finding {
    const CHECK: &str = "/dev/net/tun";
    let errno = match trials.outcome(Step::Tap) {
        Outcome::Worked => return ok(CHECK, "a tap can be made"),
        Outcome::NotTried => {
            return finding(CHECK, Status::No, "not tried", "the checks above must succeed first");
        }
        Outcome::Failed(errno) => errno,
    };
    let remedy = match machine.open("/dev/net/tun") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "sudo modprobe tun (in a container: start it with `--device /dev/net/tun`)"
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "sudo chmod 0666 /dev/net/tun, as udev's rules usually do"
        }
        _ => "load the tun module: sudo modprobe tun",
    };
    if trials.succeeded(Step::Veth) {
        let found = format!("{}; a veth pair is used instead, which is slower", refusal(errno));
        finding(CHECK, Status::Limited, found, remedy)
    } else {
        let found = format!("{}, and no veth pair can be made either", refusal(errno));
        finding(CHECK, Status::No, found, format!("{remedy}; or sudo modprobe veth"))
    }
}

fn ping(trials: &Trials) -> Finding {
    const CHECK: &str = "ping in guests";
    match trials.outcome(Step::Ping) {
        Outcome::Worked => ok(CHECK, "allowed, by ping_group_range"),
        Outcome::NotTried => finding(CHECK, Status::No, "not tried", "see the checks above"),
        Outcome::Failed(errno) => finding(
            CHECK,
            Status::Limited,
            format!("ping_group_range: {}", refusal(errno)),
            "use ping with --caps net, the default, which gives it a raw socket; /proc/sys must be \
             writable for more",
        ),
    }
}

fn runtime_directory(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "runtime directory";
    match machine.directory() {
        Ok(path) if host::directory::is_last_resort(&path) => finding(
            CHECK,
            Status::Limited,
            format!(
                "{}, because XDG_RUNTIME_DIR does not name a directory that only you can write to",
                parent(&path)
            ),
            "log in through a session manager, or sudo loginctl enable-linger, and leave \
             XDG_RUNTIME_DIR set; or set it to a directory of yours with mode 0700",
        ),
        Ok(path) => ok(CHECK, parent(&path)),
        Err(why) => finding(
            CHECK,
            Status::No,
            why,
            "set XDG_RUNTIME_DIR to a directory of yours with mode 0700, or give every command --dir",
        ),
    }
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

fn vde_path(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "VDE clients";
    match machine.directory() {
        Ok(path) if host::node::vde_directory_fits(&path).is_err() => finding(
            CHECK,
            Status::Limited,
            format!("the path {} is too long for them", path.display()),
            "publish the network in a shorter one with `netherd up --dir`",
        ),
        _ => ok(CHECK, "the directory's path is short enough"),
    }
}

fn map_auto(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "subordinate ids";
    if machine.uid() == 0 {
        return ok(CHECK, "root maps the whole range");
    }
    let programs = ["newuidmap", "newgidmap"].iter().all(|name| machine.has_program(name));
    if !programs {
        return finding(
            CHECK,
            Status::Limited,
            "newuidmap and newgidmap are missing, which `run --map-auto` needs",
            "sudo apt-get install uidmap",
        );
    }
    let (user, uid) = (machine.user(), machine.uid());
    let texts = subordinate::FILES.map(|file| machine.read_all(file).unwrap_or_default());
    if texts.iter().all(|text| !subordinate::of_user(text, &user, uid).is_empty()) {
        return ok(CHECK, "`run --map-auto` maps them");
    }
    finding(
        CHECK,
        Status::Limited,
        "there are no ranges for you in /etc/subuid and /etc/subgid, which `run --map-auto` needs",
        subordinate::remedy(&user, uid, texts.each_ref().map(String::as_str))
            .unwrap_or_else(|| "make room there: no range of the usual length is free".to_owned()),
    )
}

fn seccomp(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "seccomp";
    match machine.read("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split(' ').any(|action| action == "kill_process") => {
            ok(CHECK, "the hypervisor confines itself with a filter")
        }
        _ => finding(
            CHECK,
            Status::Limited,
            "no system call filters: the hypervisor runs unconfined",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn landlock(trials: Option<&Trials>) -> Finding {
    const CHECK: &str = "Landlock";
    match trials.map_or(Outcome::NotTried, |trials| trials.outcome(Step::Landlock)) {
        Outcome::Worked => ok(CHECK, "the hypervisor gives up the rest of the file system"),
        Outcome::Failed(_) => finding(
            CHECK,
            Status::Limited,
            "not available: the hypervisor keeps your access to files",
            "use Linux 5.13 or later, with landlock in the kernel's lsm= parameter",
        ),
        Outcome::NotTried => finding(CHECK, Status::Limited, "not tried", "see the checks above"),
    }
}

fn kvm(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "/dev/kvm";
    match machine.open("/dev/kvm") {
        Ok(()) => ok(CHECK, "virtual machines run at full speed"),
        Err(error) => finding(
            CHECK,
            Status::Limited,
            format!("{}: virtual machines are emulated, and slow", reason(&error)),
            "enable virtualisation, and join the group kvm; netherd itself needs neither",
        ),
    }
}

/// The helper for networks whose uplink is a device of the host.
fn network_devices(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "network devices";
    // A socket that is there cannot be opened like a file either (ENXIO), but that is another error.
    match machine.open(host::uplink::HELPER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => finding(
            CHECK,
            Status::Limited,
            format!("no netherd-nic at {}, so no uplink \"nic:DEVICE\"", host::uplink::HELPER),
            "have the administrator enable netherd-nic.socket or prepare a tap for you \
             (docs/real-device.md); other uplinks need neither",
        ),
        _ => ok(CHECK, "netherd-nic is there; /etc/netherd/nic.toml says what you may use"),
    }
}

#[cfg(test)]
mod tests;
