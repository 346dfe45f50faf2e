//! The broker: listens, forks a relay for each connection, and keeps the ledger.
//!
//! It reads nothing that a user sends: what comes on a connection is for the relay. What users can
//! make it do is to fork, to answer their relays' questions and to write lines, all within bounds ([`admission`]).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::ns::{Forked, Namespaces, Parenthood};
use sys::poll::{Events, Interest, Poller};
use sys::process::{Patience, Status, Which};
use sys::signal::{SignalFd, SignalSet};
use sys::unix::SocketKind;
use sys::{Cred, errno};

use crate::admission::{self, Admission, Standing};
use crate::ledger::{Ledger, QUESTION_MAX, Question, RelayId};
use crate::{connection, log};

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
    standing: Standing,
}

/// See the module.
pub struct Broker {
    listener: OwnedFd,
    admission: Admission,
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
        // Closing one that a user sent can take as long as he likes.
        let _older = sys::unix::refuse_descriptors(listener.as_fd())?;
        let set = SignalSet::of(&[signal::HUP, signal::TERM, signal::INT]);
        sys::signal::block(&set)?;
        let signals = SignalFd::new(&set)?;
        let poller = Poller::new()?;
        poller.add(listener.as_fd(), LISTENER, Interest::READABLE)?;
        poller.add(signals.as_fd(), SIGNALS, Interest::READABLE)?;
        Ok(Broker {
            listener,
            admission: Admission::new(list),
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
                    self.tell(Standing::Stranger, &format!("A connection cannot be taken: {e}."));
                    std::thread::sleep(REST);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Forks a relay, in whose process this does not return.
    fn start(&mut self, user: OwnedFd, peer: Cred) -> io::Result<()> {
        let now = Instant::now();
        let mut groups = sys::unix::peer_groups(user.as_fd()).unwrap_or_default();
        groups.push(peer.gid);
        let standing = self.admission.standing(now, peer.uid, &groups);
        let relays = self.relays.values().map(|relay| (relay.uid, relay.standing));
        if !admission::has_place(standing, peer.uid, relays) {
            // Closing is the answer: a sentence would be one more thing to be flooded with.
            return Ok(());
        }
        let may_speak = self.may_tell(standing);
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
                    standing,
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
                if !may_speak {
                    log::mute();
                }
                if end.is_ok() {
                    connection::serve(user, peer, theirs, self.admission.place());
                }
                sys::process::exit_now(0)
            }
            Err(e) => {
                self.tell(standing, &format!("A relay cannot be started: {e}."));
                std::thread::sleep(REST);
                Ok(())
            }
        }
    }

    /// Whether a line about such a user may be written.
    fn may_tell(&mut self, whom: Standing) -> bool {
        let Some(left_out) = self.admission.may_tell(sys::clock::monotonic_nanos(), whom) else {
            return false;
        };
        if left_out > 0 {
            let of = match whom {
                Standing::Listed(uid) => format!("user {uid}"),
                Standing::Stranger => "users who are not on the list".to_owned(),
            };
            log::say(&format!("{left_out} connections of {of} were not logged."));
        }
        true
    }

    fn tell(&mut self, whom: Standing, sentence: &str) {
        if self.may_tell(whom) {
            log::say(sentence);
        }
    }

    fn relay_event(&mut self, id: RelayId, on_line: bool) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        if !on_line {
            return self.ended(id);
        }
        let mut question = [0; QUESTION_MAX];
        match sys::unix::receive_message(relay.line.as_fd(), &mut question) {
            Ok((len, false)) if len > 0 => {
                let Some(question) = Question::decode(&question[..len]) else {
                    return self.end(id);
                };
                let is_open = matches!(question, Question::Open { .. });
                let agreed = self.ledger.answer(id, relay.uid, question);
                if agreed && is_open {
                    // It has read the list itself.
                    relay.standing = Standing::Listed(relay.uid);
                }
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
                let sentence = format!("The relay of user {} died of signal {number}.", relay.uid);
                self.tell(relay.standing, &sentence);
            }
        }
        self.ledger.forget(id);
    }

    /// The list has changed: everybody comes again, and is judged by the new one.
    fn end_all(&mut self) {
        let all: Vec<RelayId> = self.relays.keys().copied().collect();
        log::say(&format!("{} connections are ended so that the list is read again.", all.len()));
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
