//! The parent of CMD inside: init of a `run` guest, or the relay of an `exec`.
//!
//! It waits for three things: its children, orders from outside, and questions of the system-call filter.
//! All its signals stay blocked. A guest may send it any: init is not reached by those without a handler,
//! and the relay reads only SIGCHLD.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::notify::Listener;
use sys::ns::{Child, Forked, Namespaces, Parenthood};
use sys::process::{Patience, Status, Which};
use sys::signal::{SIGCHLD, SIGCONT, SignalFd, SignalSet};
use sys::terminal::Terminal;

use super::around::Around;
use super::bind_files::BindFiles;
use super::channel::{Channel, End, Order, Report};
use super::group;
use super::unsent::Unsent;

/// Which parent this is.
#[derive(Debug)]
pub enum Role {
    /// PID 1: when it ends, the guest does.
    Init(Keep),
    /// One of many: what its command leaves running lives on, and may still ask.
    Relay,
}

/// What init looks after beside CMD.
#[derive(Debug)]
pub struct Keep {
    /// The files that were laid over the machine's.
    pub bind_files: BindFiles,
    /// Who asks about the network around the guest.
    pub around: Around,
    /// The guest's.
    pub mount_namespace: OwnedFd,
    pub network_namespace: OwnedFd,
    /// The caller's, opened while init still saw a `/dev`.
    pub terminal: Option<Terminal>,
}

/// CMD and what belongs to it.
#[derive(Debug)]
pub struct Job {
    pub command: Child,
    pub control: Channel,
    /// `None` where a filter of an outer guest is responsible.
    pub listener: Option<Listener>,
    pub role: Role,
}

impl Job {
    /// Stays until CMD has ended or the outer side has gone; then ends this process.
    pub fn supervise(self) -> ! {
        if let Some(end) = self.watch() {
            match &self.role {
                Role::Init(keep) => self.end_guest(end, keep),
                Role::Relay => {
                    self.leave_successor();
                    self.tell(end, 0);
                }
            }
        }
        sys::process::exit_now(0)
    }

    fn tell(&self, end: End, unsent: u64) {
        let _ = self.control.send(&Report::Ended { end, unsent }, &[]);
    }

    /// The guest's processes end with CMD, but what they have sent does not: a program on a machine of its own may
    /// write, close and end, and the machine's kernel sends the rest. This guest's kernel is gone with us.
    fn end_guest(&self, end: End, keep: &Keep) {
        let mut unsent = Unsent::left_in(keep.network_namespace.as_fd());
        self.tell(end, unsent.as_ref().map_or(0, Unsent::bytes));
        while let Some(left) = &mut unsent {
            let told = sys::process::poll(&[self.control.as_fd()], Some(left.pause()));
            // Orders that come now were for CMD. Who does not want to wait, kills us.
            let alone = match told {
                Ok(ready) if ready[0] => !matches!(self.control.receive::<Order>(), Ok(Some(_))),
                told => told.is_err(),
            };
            if alone || !left.look() {
                unsent = None;
            }
        }
    }

    /// Starts a process that answers for those that the command has left behind, until the last has ended.
    fn leave_successor(&self) {
        let Some(listener) = self.listener.as_ref().filter(|listener| !listener.is_unused()) else {
            return;
        };
        // Without one, what they ask fails with ENOSYS.
        let Ok(Forked::Child) = sys::ns::fork(Namespaces::NONE, Parenthood::Own) else { return };
        let alone = sys::detach::replace_standard_streams(None)
            .and_then(|()| sys::detach::close_all_but(&[listener.as_fd()]));
        while alone.is_ok() && !listener.is_unused() {
            match sys::process::poll(&[listener.as_fd()], None) {
                Ok(_) if listener.is_unused() => {}
                Ok(_) => {
                    let _ = group::answer_next(listener);
                    // Those that answered for it.
                    while let Ok(Some(_)) = sys::process::wait(Which::Any, Patience::Now) {}
                }
                Err(_) => break,
            }
        }
        sys::process::exit_now(0)
    }

    /// All that this process needs besides its standard streams.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.command.pidfd.as_fd(), self.control.as_fd()];
        all.extend(self.listener.as_ref().map(AsFd::as_fd));
        all
    }

    fn watch(&self) -> Option<End> {
        let children = SignalFd::new(&SignalSet::of(&[SIGCHLD])).ok()?;
        // One may have ended before the descriptor was there.
        if let Some(end) = self.reap() {
            return Some(end);
        }
        loop {
            let mut fds = vec![children.as_fd(), self.control.as_fd()];
            fds.extend(self.listener.as_ref().map(AsFd::as_fd));
            let kept = fds.len();
            let keep = match &self.role {
                Role::Init(keep) => Some(keep),
                Role::Relay => None,
            };
            let bind_files = keep.map(|keep| &keep.bind_files).filter(|files| files.fd().is_some());
            fds.extend(keep.map(|keep| keep.around.fd()));
            fds.extend(bind_files.and_then(BindFiles::fd));
            let ready = sys::process::poll(&fds, None).ok()?;
            if ready[0] {
                while let Ok(Some(_)) = children.read() {}
                if let Some(end) = self.reap() {
                    return Some(end);
                }
            }
            if ready[1] {
                let (order, _) = self.control.receive::<Order>().ok()??;
                self.obey(&order);
            }
            if kept > 2
                && ready[2]
                && let Some(listener) = &self.listener
            {
                // A failed answer leaves its caller waiting, and nobody else.
                let _ = group::answer_next(listener);
            }
            let Some(keep) = keep else { continue };
            let mut kept = ready[kept..].iter();
            if kept.next() == Some(&true) {
                let Keep { mount_namespace, network_namespace, .. } = keep;
                keep.around.attend(mount_namespace.as_fd(), network_namespace.as_fd());
            }
            if let Some(files) = bind_files
                && kept.next() == Some(&true)
            {
                files.attend(keep.mount_namespace.as_fd());
            }
        }
    }

    /// Takes in all that has happened to children; CMD's end ends the search.
    fn reap(&self) -> Option<End> {
        while let Ok(Some((pid, status))) = sys::process::wait(Which::Any, Patience::Now) {
            if pid != self.command.pid {
                continue;
            }
            match status {
                Status::Exited(code) => return Some(End::Exited(code)),
                Status::Killed(signal) => return Some(End::Killed(signal)),
                Status::Stopped(signal) => {
                    let _ = self.control.send(&Report::Stopped { signal }, &[]);
                }
            }
        }
        None
    }

    fn obey(&self, order: &Order) {
        match order {
            Order::Signal { signal } => {
                let _ = sys::process::signal(self.command.pidfd.as_fd(), *signal);
            }
            Order::Continue => {
                self.hand_over_terminal();
                let _ = sys::process::signal(self.command.pidfd.as_fd(), SIGCONT);
            }
            Order::Mapped | Order::Start => {}
        }
    }

    /// The caller's shell gives the terminal to the group of `run`. If CMD has made a group of its own,
    /// as shells do, that one had it and gets it back.
    fn hand_over_terminal(&self) {
        let Ok(group) = sys::process::group(self.command.pid) else { return };
        if group == 0 {
            return;
        }
        let opened;
        let terminal = match &self.role {
            Role::Init(keep) => keep.terminal.as_ref(),
            Role::Relay => {
                opened = Terminal::controlling();
                opened.as_ref()
            }
        };
        if let Some(terminal) = terminal
            && matches!(terminal.foreground(), Ok(0))
        {
            let _ = terminal.set_foreground(group);
        }
    }
}
