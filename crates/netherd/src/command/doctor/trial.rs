//! Trying what `run` does, in a process of its own.
//!
//! Settings tell only half: AppArmor, a container's seccomp profile or a limit may forbid what a
//! sysctl allows. So `doctor` starts this program again, and that process makes namespaces and
//! interfaces one after the other and writes a line for each, `STEP ERRNO`, 0 for success. All of
//! it goes with the process. It is the same program because AppArmor's profiles go by the path.
//!
//! A new PID namespace takes effect for children, so a second process, one level further in, tries
//! what needs it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use sys::confine::Landlocked;
use sys::netlink::{LinkChange, Netlink, PeerNamespace};
use sys::ns::{self, Extent, Namespaces};

use crate::cli::Trial;

/// What is tried, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    UserNamespace,
    /// Mapping the own ids into it.
    Ids,
    /// Network, mount and PID namespaces below it.
    Namespaces,
    Tap,
    /// A veth pair with a packet socket.
    Veth,
    /// Allowing ping without a raw socket.
    Ping,
    /// A fresh /proc for the new PID namespace.
    Proc,
    /// A user namespace inside the user namespace, and what is below it.
    Nested,
    /// Giving up the file system, as the hypervisor does.
    Landlock,
}

const STEPS: [(Step, &str); 9] = [
    (Step::UserNamespace, "user"),
    (Step::Ids, "ids"),
    (Step::Namespaces, "namespaces"),
    (Step::Tap, "tap"),
    (Step::Veth, "veth"),
    (Step::Ping, "ping"),
    (Step::Proc, "proc"),
    (Step::Nested, "nested"),
    (Step::Landlock, "landlock"),
];

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Worked,
    /// With this errno(3).
    Failed(i32),
    /// A step before it failed.
    NotTried,
}

/// What became of all steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trials(BTreeMap<Step, i32>);

impl Trials {
    pub fn outcome(&self, step: Step) -> Outcome {
        match self.0.get(&step) {
            Some(0) => Outcome::Worked,
            Some(errno) => Outcome::Failed(*errno),
            None => Outcome::NotTried,
        }
    }

    pub fn succeeded(&self, step: Step) -> bool {
        self.outcome(step) == Outcome::Worked
    }

    /// Reads the lines of the trial; others are left out.
    pub fn parse(text: &str) -> Trials {
        let line = |line: &str| {
            let (name, errno) = line.split_once(' ')?;
            let (step, _) = STEPS.iter().find(|(_, known)| *known == name)?;
            Some((*step, errno.parse().ok()?))
        };
        Trials(text.lines().filter_map(line).collect())
    }

    /// These outcomes, for tests: 0 or an errno for each step.
    pub fn of(outcomes: &[(Step, i32)]) -> Trials {
        Trials(outcomes.iter().copied().collect())
    }
}

/// Starts the outer trial and reads what became of it.
pub fn perform() -> Result<Trials, String> {
    let output = again(Trial::Outer)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {PROGRAM}: {error}"))?;
    Ok(Trials::parse(&String::from_utf8_lossy(&output.stdout)))
}

const PROGRAM: &str = "/proc/self/exe";

fn again(level: Trial) -> Command {
    let level = match level {
        Trial::Outer => "outer",
        Trial::Inner => "inner",
    };
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--trial", level]).stdin(Stdio::null());
    command
}

/// One level of the trial, in this process.
pub fn run(level: Trial) {
    match level {
        Trial::Outer => {
            outer();
            attempt(Step::Landlock, landlock());
        }
        Trial::Inner => inner(),
    }
}

/// errno(3) for what the kernel does not have.
const ENOSYS: i32 = 38;

fn landlock() -> io::Result<()> {
    match sys::confine::restrict_files(&[], &[])? {
        Landlocked::Yes => Ok(()),
        Landlocked::No => Err(io::Error::from_raw_os_error(ENOSYS)),
    }
}

/// Tries and tells; whether it worked.
fn attempt(step: Step, result: io::Result<()>) -> bool {
    let errno = result.err().map_or(0, |error| {
        // EIO stands for errors that are ours and not the kernel's.
        error.raw_os_error().unwrap_or(5)
    });
    if let Some((_, name)) = STEPS.iter().find(|(known, _)| *known == step) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{name} {errno}");
        let _ = stdout.flush();
    }
    errno == 0
}

fn outer() {
    let (uid, gid) = (sys::user::uid(), sys::user::gid());
    if !attempt(Step::UserNamespace, ns::unshare(Namespaces::USER)) {
        return;
    }
    // Root inside, because the second process would lose its capabilities when it is executed.
    let map = |outside| [Extent { inside: 0, outside, count: 1 }];
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    if !attempt(Step::Ids, ns::write_maps(pid, &map(uid), &map(gid), true)) {
        return;
    }
    let below = Namespaces::MOUNT | Namespaces::NETWORK | Namespaces::PID;
    if !attempt(Step::Namespaces, ns::unshare(below)) {
        return;
    }
    attempt(Step::Tap, sys::tap::open("trial0").map(drop));
    attempt(Step::Veth, veth());
    attempt(Step::Ping, std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0"));
    let _ = again(Trial::Inner).stdout(Stdio::inherit()).stderr(Stdio::null()).status();
}

fn veth() -> io::Result<()> {
    /// As large as a packet socket's buffer is by default.
    const BUFFER: usize = 212_992;
    let mut netlink = Netlink::open()?;
    let change = LinkChange::default();
    netlink.add_veth("trial1", &change, "trial2", &change, PeerNamespace::Same)?;
    let link = netlink.link("trial2")?;
    sys::packet::open(link.index, BUFFER).map(drop)
}

fn inner() {
    attempt(
        Step::Proc,
        sys::mount::make_private().and_then(|()| sys::mount::proc(Path::new("/proc"))),
    );
    attempt(
        Step::Nested,
        ns::unshare(Namespaces::USER)
            .and_then(|()| ns::unshare(Namespaces::MOUNT | Namespaces::NETWORK)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_trial_are_read_back() {
        let trials = Trials::parse("user 0\nids 0\nnamespaces 1\nrubbish\nnew 0\ntap x\n");
        assert_eq!(
            trials,
            Trials::of(&[(Step::UserNamespace, 0), (Step::Ids, 0), (Step::Namespaces, 1)])
        );
        assert_eq!(trials.outcome(Step::Namespaces), Outcome::Failed(1));
        assert_eq!(trials.outcome(Step::Tap), Outcome::NotTried);
        assert!(trials.succeeded(Step::Ids));
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        for (index, (step, name)) in STEPS.iter().enumerate() {
            assert!(STEPS[index + 1..].iter().all(|(s, n)| s != step && n != name));
        }
    }
}
