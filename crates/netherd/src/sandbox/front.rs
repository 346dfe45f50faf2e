//! The outer side of a command in a guest: the terminal, signals, stopping and continuing, the end.
//!
//! `run` and `exec` share it. It stays in the caller's namespaces and has nothing of the guest's but a
//! channel and a pidfd of the process that looks after CMD there (init, or the relay of an `exec`).

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sys::ns::Child;
use sys::process::{Patience, Which};
use sys::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SignalFd,
    SignalSet,
};
use sys::terminal::{Terminal, own_group};

use super::channel::{Channel, End, Order, Report};
use super::session::{Change, Session};
use crate::output;

/// How long a command that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How long what a guest has left is sent before its user is told why he waits.
const QUIET: Duration = Duration::from_secs(1);

/// What a command is told that must end. An interactive shell heeds only the second, and one that is stopped
/// none without the third.
const END: [i32; 3] = [SIGTERM, SIGHUP, SIGCONT];

/// The caller's terminal as it was.
#[derive(Debug)]
pub struct Caller {
    terminal: Option<Terminal>,
    was_foreground: bool,
    signals: SignalFd,
}

impl Caller {
    /// Blocks every signal, to be read from a descriptor, and notes who has the terminal.
    pub fn take_over() -> io::Result<Self> {
        let all = SignalSet::all();
        sys::signal::block(&all)?;
        let terminal = Terminal::controlling();
        let was_foreground =
            terminal.as_ref().is_some_and(|t| t.foreground().is_ok_and(|g| g == own_group()));
        Ok(Self { terminal, was_foreground, signals: SignalFd::new(&all)? })
    }

    /// Takes the terminal back from a group that has ended with the guest. A group that lives is the
    /// business of the caller's shell.
    fn restore_terminal(&self) {
        let Some(terminal) = self.terminal.as_ref().filter(|_| self.was_foreground) else { return };
        if let Ok(group) = terminal.foreground()
            && group != own_group()
            && !sys::signal::group_exists(group)
        {
            let _ = terminal.set_foreground(own_group());
        }
    }

    /// Leaves the process as its caller gave it, for an error message or for the end.
    fn release(&self) {
        self.restore_terminal();
    }
}

/// A command in a guest, seen from outside.
#[derive(Debug)]
pub struct Front {
    pub caller: Caller,
    /// init, or the relay.
    pub inside: Child,
    pub control: Channel,
    /// The guest's place in the network, which `run` holds and `exec` does not.
    pub session: Option<Session>,
    /// CMD ends with the network: a guest in the background has nobody who could see it or end it then.
    pub ends_with_network: bool,
    /// When CMD, which was told to end, is made to.
    deadline: Option<Instant>,
    /// The guest has no network any more, and will have none.
    closed: bool,
}

impl Front {
    #[must_use]
    pub fn new(caller: Caller, inside: Child, control: Channel, session: Option<Session>) -> Self {
        Self {
            caller,
            inside,
            control,
            session,
            ends_with_network: false,
            deadline: None,
            closed: false,
        }
    }

    /// Stays until CMD has ended; then ends as CMD did.
    pub fn attend(mut self) -> ExitCode {
        let end = self.watch();
        let _ = sys::process::signal(self.inside.pidfd.as_fd(), SIGKILL);
        // The kernel answers only when all of the guest's processes are gone.
        let _ = sys::process::wait(Which::Pid(self.inside.pid), Patience::Block);
        self.caller.release();
        drop(self.session);
        match end {
            Some(End::Exited(code)) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
            Some(End::Killed(signal)) => die(signal),
            // Whoever looked after CMD was killed, and CMD with it.
            None => die(SIGKILL),
        }
    }

    fn watch(&mut self) -> Option<End> {
        loop {
            let mut fds = vec![self.control.as_fd(), self.caller.signals.as_fd()];
            fds.extend(self.session.as_ref().and_then(Session::fd));
            let timeout = self.session.as_ref().and_then(Session::timeout);
            let patience = self.patience();
            let ready = sys::process::poll(&fds, timeout.into_iter().chain(patience).min()).ok()?;
            if patience == Some(0) {
                return None;
            }
            let connected = fds.len() == 3;
            if ready[0] {
                match self.control.receive::<Report>().ok().flatten()? {
                    (Report::Stopped { signal }, _) => self.stop(signal),
                    (Report::Ended { end, unsent }, _) => {
                        self.see_off(unsent);
                        return Some(end);
                    }
                    (_, _) => {}
                }
            }
            if ready[1] {
                self.pass_signals();
            }
            if (!connected && timeout.is_some()) || ready.get(2) == Some(&true) {
                self.attend_session();
            }
        }
    }

    /// CMD has ended, and init stays until the guest's kernel has sent what was left to it. Any signal that asks for
    /// an end from now on ends that as well, as does the network's end.
    fn see_off(&mut self, unsent: u64) {
        // The terminal's keys are for us now. What they did before, they did to CMD.
        self.caller.restore_terminal();
        while let Ok(Some(_)) = self.caller.signals.read() {}
        let mut untold = (unsent > 0).then(|| Instant::now() + QUIET);
        while !self.closed {
            let mut fds = vec![self.control.as_fd(), self.caller.signals.as_fd()];
            fds.extend(self.session.as_ref().and_then(Session::fd));
            let timeout = self.session.as_ref().and_then(Session::timeout);
            let until = timeout.into_iter().chain(untold.map(remaining)).min();
            let Ok(ready) = sys::process::poll(&fds, until) else { return };
            // init has nothing more to say: this is its end.
            if ready[0] || (ready[1] && self.is_told_to_end()) {
                return;
            }
            if ready.get(2) == Some(&true) || (fds.len() == 2 && timeout.is_some()) {
                self.attend_session();
            }
            if untold.is_some_and(|then| Instant::now() >= then) {
                untold = None;
                output::note_in_passing(&format!(
                    "the command has ended, and {} that it sent are still on their way; ^C gives them up",
                    output::unit::bytes(unsent)
                ));
            }
        }
    }

    /// Whether a signal asks for the end; one that our caller has us ignore does not. A signal that stops is heeded
    /// here; init goes on meanwhile.
    fn is_told_to_end(&self) -> bool {
        let ignored = sys::signal::ignored();
        let mut told = false;
        while let Ok(Some(got)) = self.caller.signals.read() {
            told |= [SIGINT, SIGQUIT, SIGHUP, SIGTERM].contains(&got.signal)
                && !ignored.contains(got.signal);
            if got.signal == SIGTSTP {
                stop_by(SIGTSTP);
            }
        }
        told
    }

    /// Milliseconds that CMD has left to end by itself, if it was told to.
    fn patience(&self) -> Option<u32> {
        self.deadline.map(remaining)
    }

    /// Only what was sent to us: what the terminal raised, it raised in CMD as well.
    fn pass_signals(&self) {
        while let Ok(Some(got)) = self.caller.signals.read() {
            if got.from_process() && got.signal != SIGCHLD {
                let _ = self.control.send(&Order::Signal { signal: got.signal }, &[]);
            }
        }
    }

    /// CMD has stopped: the shell that waits for us shall see it, and get the terminal. In the background no
    /// shell waits, and nobody would continue us to hear that the network has ended.
    fn stop(&self, signal: i32) {
        if self.ends_with_network {
            return;
        }
        let _ = sys::process::signal(self.inside.pidfd.as_fd(), SIGSTOP);
        // Discards one that the terminal raised in us too, so that we stop once.
        while let Ok(Some(got)) = self.caller.signals.read() {
            if got.signal == SIGCONT {
                // It is being continued already.
                self.resume();
                return;
            }
            if got.from_process() && got.signal != SIGCHLD && got.signal != signal {
                let _ = self.control.send(&Order::Signal { signal: got.signal }, &[]);
            }
        }
        stop_by(signal);
        // The one that woke us is not another one.
        while let Ok(Some(got)) = self.caller.signals.read() {
            if got.from_process() && got.signal != SIGCHLD && got.signal != SIGCONT {
                let _ = self.control.send(&Order::Signal { signal: got.signal }, &[]);
            }
        }
        self.resume();
    }

    fn resume(&self) {
        let _ = sys::process::signal(self.inside.pidfd.as_fd(), SIGCONT);
        let _ = self.control.send(&Order::Continue, &[]);
    }

    fn attend_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        match session.attend() {
            Change::None => {}
            Change::Waiting { why } => output::note_in_passing(&why),
            Change::Moved => output::note_in_passing(
                "the network was started anew with other addresses; eth0 keeps the old ones until the \
                 guest is started again",
            ),
            Change::Closed { why, end } => {
                self.closed = true;
                if end || self.ends_with_network {
                    for signal in END {
                        let _ = self.control.send(&Order::Signal { signal }, &[]);
                    }
                    self.deadline = Some(Instant::now() + GRACE);
                }
                output::note_in_passing(&why);
            }
        }
    }
}

/// Stops us as the signal does by itself, until SIGCONT: not where nobody could continue us.
fn stop_by(signal: i32) {
    let set = SignalSet::of(&[signal]);
    let _ = sys::signal::send(sys::process::own_pid(), signal);
    let _ = sys::signal::unblock(&set);
    // Stopped here.
    let _ = sys::signal::block(&set);
}

/// Milliseconds until then.
fn remaining(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u32::try_from(left).unwrap_or(u32::MAX)
}

/// Dies as CMD did, so that the caller sees the same; a signal that does not end a process gives the
/// number a shell would show.
fn die(signal: i32) -> ExitCode {
    sys::process::die_by(signal);
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(255))
}

/// Ends what was begun inside after a failure, and leaves the terminal as it was.
pub fn abandon(caller: &Caller, inside: &Child) {
    let _ = sys::process::signal(inside.pidfd.as_fd(), SIGKILL);
    let _ = sys::process::wait(Which::Pid(inside.pid), Patience::Block);
    caller.release();
}
