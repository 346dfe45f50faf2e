//! The answers to what a guest's processes ask through the system-call filter ([`sys::notify`] says why).
//!
//! "The caller's process group" means its members that the caller can see: those in its PID namespace or
//! below. If the group's first process has a number in that namespace, all members are inside and the
//! kernel may do it. If not, it is a group that began outside, and we signal the visible members one by
//! one. This holds for a guest's guests too: each process is judged by its own PID namespace.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sys::caps::Capabilities;
use sys::errno::{EINVAL, EIO, EPERM, ESRCH};
use sys::notify::{Answer, Call, Listener, Wish};
use sys::ns::{Forked, Namespaces, Parenthood};

/// What `/proc/PID/status` tells of a process, seen from our PID namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// The process, where `pid` may be one of its threads.
    leader: i32,
    /// The process's number in its own namespace.
    own_number: i32,
    /// The group's number in our namespace; 0 if it began outside of ours.
    group: i32,
    /// The group's number in the process's own namespace.
    group_inside: i32,
    /// Real, effective and saved user, as our user namespace numbers them.
    users: [u32; 3],
    effective: Capabilities,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<i64>> {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().map(|n| n.parse().ok()).collect()
        };
        let user = |at: usize, all: &[i64]| u32::try_from(*all.get(at)?).ok();
        let number = |n: i64| i32::try_from(n).ok();
        let groups = numbers("NSpgid")?;
        let users = numbers("Uid")?;
        Some(Self {
            leader: number(*numbers("Tgid")?.first()?)?,
            own_number: number(*numbers("NStgid")?.last()?)?,
            group: number(*groups.first()?)?,
            group_inside: number(*groups.last()?)?,
            users: [user(0, &users)?, user(1, &users)?, user(2, &users)?],
            effective: sys::caps::of_status(status, "CapEff")?,
        })
    }

    /// kill(2): the caller's real or effective user is the target's real or saved one.
    fn is_of_same_user(&self, target: &Self) -> bool {
        let own = &self.users[..2];
        own.contains(&target.users[0]) || own.contains(&target.users[2])
    }
}

/// Takes one notification and answers it.
pub fn answer_next(listener: &Listener) -> io::Result<()> {
    let Some(call) = listener.receive()? else { return Ok(()) };
    let signal = match call.wish {
        Wish::Signal(signal) => signal,
        Wish::Async { fd, how } => {
            return ask_apart(listener, &call, |process| {
                match sys::notify::set_async(process, fd, how) {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Fail(error.raw_os_error().unwrap_or(EIO)),
                }
            });
        }
        Wish::Foreground { fd, address } => {
            return ask_apart(listener, &call, |process| {
                // Whatever the caller's memory says when the kernel reads it again: only 0 is refused there.
                match sys::notify::names_no_group(process, fd, address) {
                    Ok(true) => Answer::Done,
                    Ok(false) | Err(_) => Answer::Continue,
                }
            });
        }
    };
    let (answer, itself) = judge(listener, &call, signal);
    // kill(2) delivers to the caller before it returns. That is safe only if the caller's wait is not
    // interrupted by the signal, or else it would make the call again.
    let first = listener.is_steady();
    if let Some(pid) = itself.filter(|_| first) {
        let _ = sys::signal::send(pid, signal);
    }
    listener.answer(&call, answer)?;
    if let Some(pid) = itself.filter(|_| !first) {
        let _ = sys::signal::send(pid, signal);
    }
    Ok(())
}

/// A process of its own finds the answer, given the caller's number: the guest can make it wait as long as it likes.
/// It ends with the guest.
fn ask_apart(listener: &Listener, call: &Call, find: impl FnOnce(i32) -> Answer) -> io::Result<()> {
    match sys::ns::fork(Namespaces::NONE, Parenthood::Own)? {
        Forked::Parent(_) => Ok(()),
        Forked::Child => {
            let leader = Process::read(call.caller).map(|caller| caller.leader);
            let answer = match leader.filter(|_| listener.is_waiting(call)) {
                None => Answer::Fail(ESRCH),
                Some(leader) => find(leader),
            };
            let _ = listener.answer(call, answer);
            sys::process::exit_now(0)
        }
    }
}

/// The answer, and the caller's process if it has to be signalled too.
fn judge(listener: &Listener, call: &Call, signal: i32) -> (Answer, Option<i32>) {
    let Some(caller) = Process::read(call.caller) else { return (Answer::Fail(ESRCH), None) };
    let Ok(namespace) = sys::ns::of(call.caller, Namespaces::PID) else {
        return (Answer::Fail(ESRCH), None);
    };
    // What a capability is good for is what belongs to its user namespace or lies inside of it: everybody has all
    // capabilities in one of his own (user_namespaces(7)).
    let rules = caller.effective.contains(Capabilities::KILL);
    let rules = rules.then(|| sys::ns::of(call.caller, Namespaces::USER).ok()).flatten();
    // Only now is it sure that the number still named the caller when the files were read.
    if !listener.is_waiting(call) {
        return (Answer::Fail(ESRCH), None);
    }
    if caller.group_inside != 0 {
        return (Answer::Continue, None);
    }
    if !(0..=64).contains(&signal) {
        return (Answer::Fail(EINVAL), None); // As the kernel says.
    }
    let ourselves = sys::process::own_pid();
    let mut delivered = false;
    for pid in processes() {
        if pid == ourselves || pid == caller.leader {
            continue;
        }
        let Some(member) = Process::read(pid) else { continue };
        if member.group == caller.group
            && (caller.is_of_same_user(&member)
                || rules.as_ref().is_some_and(|own| is_ruled(pid, own.as_fd())))
            && is_reached(pid, &member, namespace.as_fd())
            && sys::signal::send(pid, signal).is_ok()
        {
            delivered = true;
        }
    }
    // A process may always signal itself.
    let itself = (call.caller > 0).then_some(caller.leader);
    match (delivered, itself) {
        (false, None) => (Answer::Fail(EPERM), None),
        _ => (Answer::Done, itself),
    }
}

/// Whether a process of the caller's namespace, which `namespace` is, could signal this one.
fn is_reached(pid: i32, member: &Process, namespace: BorrowedFd<'_>) -> bool {
    let Ok(own) = sys::ns::of(pid, Namespaces::PID) else { return false };
    // The init of the caller's own namespace takes no signal from inside (pid_namespaces(7)); from us it
    // would.
    let is_init = member.own_number == 1 && sys::ns::same(own.as_fd(), namespace).unwrap_or(true);
    !is_init && sys::ns::is_within(own.as_fd(), namespace).unwrap_or(false)
}

/// Whether a capability in the user namespace `own` is one over this process.
fn is_ruled(pid: i32, own: BorrowedFd<'_>) -> bool {
    let its = sys::ns::of(pid, Namespaces::USER);
    its.and_then(|its| sys::ns::is_within(its.as_fd(), own)).unwrap_or(false)
}

fn processes() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(group: &str, users: &str, caps: &str) -> String {
        format!(
            "Name:\tx\nTgid:\t7\nUid:\t{users}\nNStgid:\t7\t3\nNSpgid:\t{group}\nCapEff:\t{caps}\n"
        )
    }

    #[test]
    fn a_group_that_began_outside_has_no_number_inside() {
        let nested = Process::parse(&status("40\t0", "1000 1000 1000 1000", "0")).unwrap();
        assert_eq!((nested.leader, nested.own_number), (7, 3));
        assert_eq!((nested.group, nested.group_inside), (40, 0));
        let own = Process::parse(&status("40\t3", "1000 1000 1000 1000", "0")).unwrap();
        assert_eq!(own.group_inside, 3);
        assert!(Process::parse("Name:\tx\n").is_none());
    }

    #[test]
    fn permission_is_as_kill_has_it() {
        let user = |users: &str| Process::parse(&status("0", users, "0")).unwrap();
        let caller = user("1000 1001 1000 1000");
        assert!(caller.is_of_same_user(&user("1000 5 5 5")));
        assert!(caller.is_of_same_user(&user("5 5 1001 5")));
        assert!(!caller.is_of_same_user(&user("5 1000 5 5")));
        let mighty = Process::parse(&status("0", "9 9 9 9", "20")).unwrap();
        assert!(!mighty.is_of_same_user(&user("5 5 5 5")));
    }

    /// In a user namespace of his own, a guest's unprivileged user has every capability; none is one over processes
    /// outside of it.
    #[test]
    fn capabilities_end_with_their_user_namespace() {
        use std::io::Read;
        let nested = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", "echo && exec sleep 60"])
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut nested = nested.unwrap();
        let started = nested.stdout.take().unwrap().read_exact(&mut [0]);
        let pid = i32::try_from(nested.id()).unwrap();
        if started.is_err() {
            nested.wait().unwrap();
            testkit::skip!("no user namespace can be made here");
        }
        let ourselves = i32::try_from(std::process::id()).unwrap();
        let ours = sys::ns::own(Namespaces::USER).unwrap();
        let theirs = sys::ns::of(pid, Namespaces::USER).unwrap();
        assert!(Process::read(pid).unwrap().effective.contains(Capabilities::KILL));
        let (down, up, own) = (
            is_ruled(pid, ours.as_fd()),
            is_ruled(ourselves, theirs.as_fd()),
            is_ruled(pid, theirs.as_fd()),
        );
        nested.kill().unwrap();
        nested.wait().unwrap();
        assert!(down && own, "what lies inside is ruled from outside");
        assert!(!up, "and not the other way round");
    }

    #[test]
    fn our_own_process_is_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Process::read(pid).unwrap().leader, pid);
        assert!(processes().contains(&pid));
    }
}
