//! `netherd exec`: one more program in a guest.
//!
//! # Theory of operation
//!
//! The hypervisor gives the guest's owner the guest's namespaces. A helper of ours enters them, U1 first,
//! because only its privilege opens P1, and then the rest; forks the relay, which is the first to be in P1
//! and thus visible to the guest; and ends. The relay starts the command and looks after it as init does
//! after CMD. It is our own child, though in P1 (`CLONE_PARENT`), so that it dies with us.
//!
//! What the guest must not get at: our memory and descriptors. Before it enters, the helper gives up being
//! dumpable, so that `/proc/PID` and ptrace(2) are closed to the guest even for the same user, and closes
//! every descriptor but those it needs; the command gets 0 to 2.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, anyhow, bail};
use host::api::message::Entrance;
use sys::caps::Capabilities;
use sys::notify::Listener;
use sys::ns::{Child, Forked, Namespaces, Parenthood};

use super::channel::{Channel, Inner, Report};
use super::command::{CommandLine, start_in};
use super::guest;
use super::job::{Job, Role};
use crate::output::failure::{self, NOT_STARTED};

/// In the order of entering.
const ORDER: [(&str, Namespaces); 7] = [
    ("outer", Namespaces::USER),
    ("pid", Namespaces::PID),
    ("user", Namespaces::USER),
    ("mnt", Namespaces::MOUNT),
    ("net", Namespaces::NETWORK),
    ("ipc", Namespaces::IPC),
    ("uts", Namespaces::UTS),
];

/// A guest to enter.
#[derive(Debug)]
pub struct Door {
    guest: String,
    namespaces: Vec<(Namespaces, OwnedFd)>,
    caps: Capabilities,
}

impl Door {
    /// Takes what the hypervisor answered, and asks the guest's init which capabilities its programs have.
    ///
    /// # Errors
    /// For a guest that cannot be entered, or has ended.
    pub fn new(entrance: &Entrance, fds: Vec<OwnedFd>) -> anyhow::Result<Self> {
        let guest = entrance.guest.clone();
        let mut named: Vec<(String, OwnedFd)> =
            entrance.namespaces.iter().cloned().zip(fds).collect();
        let mut take = |name: &str| {
            named.iter().position(|(have, _)| have == name).map(|at| named.swap_remove(at).1)
        };
        let missing = || {
            anyhow!(
                "guest {guest} cannot be entered: it was not made by `netherd run`; enter its namespaces \
                 with the tool that made them"
            )
        };
        let init = take("init").ok_or_else(missing)?;
        let mut namespaces = Vec::new();
        for (name, kind) in ORDER {
            namespaces.push((kind, take(name).ok_or_else(missing)?));
        }
        let caps = sys::process::number(init.as_fd())?
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .and_then(|status| sys::caps::of_status(&status, "CapInh"))
            .ok_or_else(|| anyhow!("guest {guest} has just ended"))?;
        Ok(Self { guest, namespaces, caps })
    }

    /// Starts the command inside; answers its relay.
    ///
    /// # Errors
    /// A sentence, with the exit status that says how far it came.
    pub fn start(
        self,
        command: &CommandLine,
        directory: Option<&std::path::Path>,
    ) -> anyhow::Result<(Child, Channel)> {
        let (control, relay_control) = Channel::pair()?;
        let (setup, relay_setup) = Channel::pair()?;
        let helper = sys::ns::fork(Namespaces::NONE, Parenthood::Own)
            .context("the helper that enters the guest cannot be started")?;
        let helper = match helper {
            Forked::Child => {
                drop((control, setup));
                let inside = Inside { door: self, command, directory };
                inside.enter(&relay_control, &relay_setup)
            }
            Forked::Parent(child) => child,
        };
        drop((relay_control, relay_setup));
        let relay = await_start(&setup);
        // The helper ends by itself once the relay is there, or after it has failed.
        let _ =
            sys::process::wait(sys::process::Which::Pid(helper.pid), sys::process::Patience::Block);
        Ok((relay?, control))
    }
}

/// Reads the set-up channel until the command is executed.
fn await_start(setup: &Channel) -> anyhow::Result<Child> {
    let mut relay = None;
    while let Some((report, mut fds)) = setup.receive::<Report>()? {
        match report {
            Report::Failed { sentence, status } => {
                return Err(failure::Failure::new(status, anyhow!(sentence)).into());
            }
            Report::Relay => relay = fds.pop(),
            _ => {}
        }
    }
    let pidfd = relay.ok_or_else(|| anyhow!("the guest ended before the command was started"))?;
    let pid = sys::process::number(pidfd.as_fd())?
        .ok_or_else(|| anyhow!("the guest ended while the command was started"))?;
    Ok(Child { pid, pidfd })
}

/// The helper, on its way.
struct Inside<'a> {
    door: Door,
    command: &'a CommandLine,
    directory: Option<&'a std::path::Path>,
}

impl Inside<'_> {
    fn enter(self, control: &Channel, setup: &Channel) -> ! {
        if let Err(error) = self.try_enter(control, setup) {
            setup.fail(NOT_STARTED, &failure::sentence(&error));
        }
        sys::process::exit_now(0)
    }

    fn try_enter(&self, control: &Channel, setup: &Channel) -> anyhow::Result<()> {
        sys::process::set_undumpable().context("the helper cannot be shielded")?;
        let mut keep = vec![control.as_fd(), setup.as_fd()];
        keep.extend(self.door.namespaces.iter().map(|(_, fd)| fd.as_fd()));
        sys::detach::close_all_but(&keep).context("descriptors cannot be closed")?;
        for (kind, namespace) in &self.door.namespaces {
            sys::ns::enter(namespace.as_fd(), *kind).with_context(|| {
                format!(
                    "guest {} cannot be entered ({}); only its owner may, and not from inside another guest",
                    self.door.guest,
                    kind.file_name().unwrap_or("namespace")
                )
            })?;
        }
        match sys::ns::fork(Namespaces::NONE, Parenthood::Grand)? {
            Forked::Parent(relay) => {
                setup.send(&Report::Relay, &[relay.pidfd.as_fd()])?;
                Ok(())
            }
            Forked::Child => self.relay(control, setup),
        }
    }

    /// In the guest's PID namespace.
    fn relay(&self, control: &Channel, setup: &Channel) -> ! {
        match self.start_command(setup) {
            Ok((command, listener)) => {
                let Ok(control) = control.try_clone() else {
                    sys::process::exit_now(i32::from(NOT_STARTED))
                };
                let job = Job { command, control, listener, role: Role::Relay };
                if sys::detach::close_all_but(&job.descriptors()).is_err() {
                    sys::process::exit_now(i32::from(NOT_STARTED));
                }
                job.supervise()
            }
            Err(error) => {
                setup.fail(NOT_STARTED, &failure::sentence(&error));
                sys::process::exit_now(i32::from(NOT_STARTED))
            }
        }
    }

    /// Becomes the command. While exec(2) is at work, the new memory belongs to the guest already, and its
    /// user id 0 may look; descriptors that exec is still to close would be there. So they are closed before,
    /// and a failure is told by standard error and status alone.
    fn execute(&self) -> ! {
        if sys::detach::close_all_but(&[]).is_err() {
            sys::process::exit_now(i32::from(NOT_STARTED));
        }
        let (status, sentence) = self.command.exec();
        crate::output::note(&sentence);
        sys::process::exit_now(i32::from(status))
    }

    fn start_command(&self, setup: &Channel) -> anyhow::Result<(Child, Option<Listener>)> {
        sys::process::set_death_signal(sys::signal::SIGKILL)?;
        // As in `run`; where the ids are too few for it, it is refused, and not needed.
        let _ = sys::process::clear_groups();
        start_in(self.directory)?;
        let (to_command, to_relay) = Channel::pair()?;
        let command = match sys::ns::fork(Namespaces::NONE, Parenthood::Own)? {
            Forked::Child => {
                drop(to_command);
                let prepared = sys::process::set_death_signal(sys::signal::SIGKILL)
                    .map_err(anyhow::Error::from)
                    .and_then(|()| guest::confine(self.door.caps, &to_relay));
                if let Err(error) = prepared {
                    setup.fail(NOT_STARTED, &failure::sentence(&error));
                    sys::process::exit_now(i32::from(NOT_STARTED));
                }
                self.execute()
            }
            Forked::Parent(child) => child,
        };
        drop(to_relay);
        let mut listener = None;
        while let Some((message, mut fds)) = to_command.receive()? {
            match message {
                Inner::Listener { steady } => {
                    listener = fds.pop().map(|fd| Listener::from_fd(fd, steady));
                }
                _ => bail!("the command said something else than its filter's listener"),
            }
        }
        Ok((command, listener))
    }
}
