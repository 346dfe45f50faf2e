//! The broker: listens, forks a relay for each connection, and keeps the ledger.
//!
//! It reads nothing that a user sends: what comes on a connection is for the relay. What users can
//! make it do is to fork and to answer their relays' questions, both within bounds.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use sys::ns::{Forked, Namespaces, Parenthood};
use sys::poll::{Events, Interest, Poller};
use sys::process::{Patience, Status, Which};
use sys::signal::{SignalFd, SignalSet};
use sys::unix::SocketKind;
use sys::{Cred, errno};

use crate::ledger::{Ledger, QUESTION_MAX, Question, RelayId};
use crate::{connection, log};

/// Most relays, and most of one user.
const RELAYS_MAX: usize = 256;
const RELAYS_PER_USER: usize = 32;

/// How long the broker rests when the system has no more processes or descriptors.
const REST: Duration = Duration::from_millis(100);

/// Connections taken in one turn.
const TURN: usize = 16;

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
/// Two tokens for each relay follow: its line, and its end.
const FIRST_RELAY: u64 = 2;

struct RelayProcess {
    pid: i32,
    process: OwnedFd,
    line: OwnedFd,
    uid: u32,
}

/// See the module.
pub struct Broker {
    listener: OwnedFd,
    list: PathBuf,
    poller: Poller,
    signals: SignalFd,
    ledger: Ledger,
    relays: HashMap<RelayId, RelayProcess>,
    next: RelayId,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Broker {
    /// `listener` is a listening seqpacket socket, `list` the file of who may do what.
    ///
    /// # Errors
    /// When the system gives no descriptors.
    pub fn new(listener: OwnedFd, list: PathBuf) -> io::Result<Broker> {
        sys::unix::set_nonblocking(listener.as_fd(), true)?;
        let set = SignalSet::of(&[signal::HUP, signal::TERM, signal::INT]);
        sys::signal::block(&set)?;
        let signals = SignalFd::new(&set)?;
        let poller = Poller::new()?;
        poller.add(listener.as_fd(), LISTENER, Interest::READABLE)?;
        poller.add(signals.as_fd(), SIGNALS, Interest::READABLE)?;
        Ok(Broker {
            listener,
            list,
            poller,
            signals,
            ledger: Ledger::default(),
            relays: HashMap::new(),
            next: 1,
        })
    }

    /// Serves until it is told to end.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            self.poller.wait(&mut events, None)?;
            for event in events.iter() {
                match event.token {
                    LISTENER => self.accept()?,
                    SIGNALS => {
                        while let Some(received) = self.signals.read()? {
                            if received.signal != signal::HUP {
                                return Ok(());
                            }
                            self.end_all();
                        }
                    }
                    token => self.relay_event((token - FIRST_RELAY) / 2 + 1, token % 2 == 0),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..TURN {
            match sys::unix::accept(self.listener.as_fd()) {
                Ok((user, peer)) => self.start(user, peer)?,
                Err(e) if errno::is_transient(&e) => break,
                Err(e) => {
                    // Out of descriptors or memory; it would be told again at once.
                    log::say(&format!("A connection cannot be taken: {e}."));
                    std::thread::sleep(REST);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Forks a relay, in whose process this does not return.
    fn start(&mut self, user: OwnedFd, peer: Cred) -> io::Result<()> {
        let of_user = self.relays.values().filter(|relay| relay.uid == peer.uid).count();
        if self.relays.len() >= RELAYS_MAX || of_user >= RELAYS_PER_USER {
            // Closing is the answer: a sentence would be one more thing to be flooded with.
            return Ok(());
        }
        let made = sys::unix::pair(SocketKind::Seqpacket, true).and_then(|(ours, theirs)| {
            Ok((ours, theirs, sys::ns::fork(Namespaces::NONE, Parenthood::Own)?))
        });
        match made {
            Ok((ours, theirs, Forked::Parent(child))) => {
                drop((user, theirs));
                let id = self.next;
                self.next += 1;
                let token = FIRST_RELAY + (id - 1) * 2;
                self.poller.add(ours.as_fd(), token, Interest::READABLE)?;
                self.poller.add(child.pidfd.as_fd(), token + 1, Interest::READABLE)?;
                let relay = RelayProcess {
                    pid: child.pid,
                    process: child.pidfd,
                    line: ours,
                    uid: peer.uid,
                };
                self.relays.insert(id, relay);
                Ok(())
            }
            Ok((ours, theirs, Forked::Child)) => {
                drop(ours);
                // The broker's descriptors are closed by their numbers, and never touched again:
                // the process ends by exit, which runs no destructors.
                let kept = [user.as_fd(), theirs.as_fd()];
                let end = sys::process::set_death_signal(signal::TERM)
                    .and_then(|()| sys::detach::close_all_but(&kept))
                    .and_then(|()| sys::signal::set_mask(&SignalSet::empty()));
                if end.is_ok() {
                    connection::serve(user, peer, theirs, &self.list);
                }
                sys::process::exit_now(0)
            }
            Err(e) => {
                log::say(&format!("A relay cannot be started: {e}."));
                std::thread::sleep(REST);
                Ok(())
            }
        }
    }

    fn relay_event(&mut self, id: RelayId, on_line: bool) {
        let Some(relay) = self.relays.get(&id) else { return };
        if !on_line {
            return self.ended(id);
        }
        let mut question = [0; QUESTION_MAX];
        match sys::unix::receive_message(relay.line.as_fd(), &mut question) {
            Ok((len, false)) if len > 0 => {
                let Some(question) = Question::decode(&question[..len]) else {
                    return self.end(id);
                };
                let agreed = self.ledger.answer(id, relay.uid, question);
                let answer = [u8::from(agreed)];
                let sent =
                    sys::unix::send_vectored(relay.line.as_fd(), &[io::IoSlice::new(&answer)]);
                if sent.is_err() {
                    // A relay waits for each answer: one that does not is not ours any more.
                    self.end(id);
                }
            }
            Err(e) if errno::is_transient(&e) => {}
            _ => self.end(id),
        }
    }

    /// Ends a relay; what it had is given back when it is gone.
    fn end(&mut self, id: RelayId) {
        if let Some(relay) = self.relays.get(&id) {
            let _gone = sys::process::signal(relay.process.as_fd(), signal::KILL);
            let _once = self.poller.remove(relay.line.as_fd());
        }
    }

    fn ended(&mut self, id: RelayId) {
        if let Some(relay) = self.relays.remove(&id) {
            let _once = self.poller.remove(relay.line.as_fd());
            let _watched = self.poller.remove(relay.process.as_fd());
            let ended = sys::process::wait(Which::Pid(relay.pid), Patience::Now);
            // A call that is not on the list ends a relay: nobody should have to guess that.
            if let Ok(Some((_, Status::Killed(number)))) = ended
                && number != signal::KILL
            {
                log::say(&format!("The relay of user {} died of signal {number}.", relay.uid));
            }
        }
        self.ledger.forget(id);
    }

    /// The list has changed: everybody comes again, and is judged by the new one.
    fn end_all(&mut self) {
        let all: Vec<RelayId> = self.relays.keys().copied().collect();
        log::say(&format!("{} connections are ended for the list to be read again.", all.len()));
        for id in all {
            self.end(id);
        }
    }
}

/// Signals by number (signal(7)), the same on every architecture that Rust's Linux has these for.
mod signal {
    pub(super) use sys::detach::{SIGHUP as HUP, SIGINT as INT, SIGTERM as TERM};
    pub(super) const KILL: i32 = 9;
}
