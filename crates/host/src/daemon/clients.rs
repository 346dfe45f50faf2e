//! Connections to `api`: accepting them, serving their requests, and what ends with them.
//!
//! Requests are answered between batches of frames, and frames must not wait for them. So clients with requests stand
//! in one line, whoever they are ([`Daemon::serve_waiting`]): one turn serves from its head for [`TURN`], and ends with
//! the first report, which is the only answer that may take long. Whoever has more to ask goes to the end of the line.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use engine::Instant;
use sys::Cred;
use sys::peer::PeerPlace;
use sys::poll::Interest;

use super::Daemon;
use super::admission::{Place, turn_away};
use super::caller::Caller;
use crate::api::message::{Closed, Code, Ending, Event, Failure};
use crate::api::server::{Connection, Over, REQUESTS_PER_VISIT};
use crate::capture::CaptureId;
use crate::closer;
use crate::config::Peers;
use crate::link::CloseReason;
use crate::log;
use crate::names::Name;
use crate::worker::{NetworkId, Token, Worker};

/// Time of one turn of the loop for all requests together. One request may go beyond it.
const TURN: Duration = Duration::from_millis(1);
/// Descriptors that came with unfinished requests of one user.
const PARKED_PER_USER: usize = 64;
/// Connections that may not make any call, all together, and how long each may wait for being told so.
const REFUSED_MAX: usize = 32;
const REFUSED_TIME: Duration = Duration::from_secs(2);

/// A connection and what depends on it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) network: NetworkId,
    pub(super) caller: Caller,
    pub(super) captures: Vec<CaptureId>,
    pub(super) interest: Interest,
    /// Whole requests may wait in the connection's buffer.
    pub(super) more: bool,
    /// It stands in the line of those who are served.
    pub(super) in_line: bool,
    /// The client sends no more; what it asked is still answered.
    pub(super) finished: bool,
    /// The client is to be disconnected once its answers are out.
    pub(super) closing: bool,
    /// What it may be used for.
    pub(super) place: Place,
    /// When it asked for something last.
    pub(super) asked: Instant,
    /// Why it may not make any call: what its first request is answered with.
    refused: Option<String>,
    /// When it is disconnected whatever it does: it may not make any call.
    until: Option<Instant>,
}

impl Client {
    /// It may not make any call, and waits for being told so.
    pub(super) fn is_refused(&self) -> bool {
        self.until.is_some()
    }
}

impl Daemon {
    pub(super) fn accept(&mut self, worker: &mut Worker, at: usize) {
        // Bounded: the poller reports the socket again.
        for _ in 0..16 {
            if closer::is_full() {
                log::guest(
                    "No connection to api is accepted: too many descriptors sent by clients are still waiting to \
                    be closed.",
                );
                return self.networks[at].api.pause(worker);
            }
            let network = &self.networks[at];
            let (stream, cred) = match network.api.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    let nothing = matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionAborted
                    );
                    if !nothing {
                        log::guest(&format!("A connection to api was not accepted: {error}."));
                        self.networks[at].api.pause(worker);
                    }
                    return;
                }
            };
            let refused = (network.config.peers == Peers::OwnNamespace)
                .then(|| stranger(stream.as_fd(), cred))
                .flatten();
            let caller = Caller::new(cred);
            let id = network.id;
            let place = match &refused {
                _ if closer::is_stuck(cred.uid) => Err(Failure::new(
                    Code::Limit,
                    "Descriptors that you sent before take too long to close: end what holds them, and try again.",
                )),
                Some(why) => {
                    let refusals = self.clients.values().filter(|it| it.is_refused()).count();
                    (refusals < REFUSED_MAX)
                        .then_some(Place::Whole)
                        .ok_or_else(|| Failure::new(Code::NotAllowed, why.clone()))
                }
                None => self.place(worker, at, caller),
            };
            let place = match place {
                Ok(place) => place,
                Err(why) => {
                    turn_away(stream, cred, why);
                    continue;
                }
            };
            let asked = worker.now();
            let until = refused.is_some().then(|| asked + REFUSED_TIME);
            let connection = Connection::new(stream, cred);
            match worker.register(connection.fd(), Interest::READABLE) {
                Ok(token) => {
                    let client = Client {
                        connection,
                        network: id,
                        caller,
                        captures: Vec::new(),
                        interest: Interest::READABLE,
                        more: false,
                        in_line: false,
                        finished: false,
                        closing: false,
                        place,
                        asked,
                        refused,
                        until,
                    };
                    self.clients.insert(token, client);
                }
                Err(error) => {
                    log::guest(&format!("A connection to api was not accepted: {error}."));
                }
            }
        }
    }

    /// Disconnects those who may make no call and have had the time to hear why.
    pub(super) fn end_refused(&mut self, worker: &mut Worker) {
        let now = worker.now();
        let is_over = |client: &Client| client.until.is_some_and(|until| until <= now);
        let over: Vec<Token> =
            self.clients.iter().filter(|it| is_over(it.1)).map(|(token, _)| *token).collect();
        for token in over {
            self.disconnect(worker, token, &Over::Closed);
        }
    }

    /// When the next of them is.
    pub(super) fn next_refused(&self) -> Option<Instant> {
        self.clients.values().filter_map(|client| client.until).min()
    }

    /// Accepts again where the pause is over.
    pub(super) fn resume_api(&mut self, worker: &mut Worker) {
        self.networks.iter_mut().for_each(|network| network.api.resume(worker));
    }

    /// One visit to a client: read what it asks, write what it was answered.
    pub(super) fn visit(
        &mut self,
        worker: &mut Worker,
        token: Token,
        readable: bool,
        hangup: bool,
    ) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let may_read = !client.connection.is_busy() && !client.finished && !client.closing;
        if (readable || hangup) && may_read {
            match client.connection.read() {
                Ok(()) => {}
                Err(Over::Closed) => client.finished = true,
                Err(over) => return self.disconnect(worker, token, &over),
            }
            client.more = true;
            let uid = client.connection.cred().uid;
            if client.connection.parked() > 0 && self.parked(uid) > PARKED_PER_USER {
                return self.disconnect(worker, token, &Over::Parked);
            }
        } else if hangup && !client.more {
            // Nobody will read what waits, and all that was asked is done.
            return self.disconnect(worker, token, &Over::Closed);
        }
        self.flush(worker, token);
    }

    /// Descriptors that came with requests of a user and belong to none yet.
    fn parked(&self, uid: u32) -> usize {
        let connections = self.clients.values().map(|client| &client.connection);
        connections.filter(|it| it.cred().uid == uid).map(Connection::parked).sum()
    }

    /// Serves clients in their line, for the time of one turn.
    pub(super) fn serve_waiting(&mut self, worker: &mut Worker) {
        let end = worker.now() + TURN;
        // Whoever goes back to the end of the line waits for the next turn.
        for _ in 0..self.line.len() {
            let Some(token) = self.line.pop_front() else { return };
            if let Some(client) = self.clients.get_mut(&token) {
                client.in_line = false;
            }
            if !self.serve_client(worker, token) || worker.now() >= end {
                return;
            }
        }
    }

    /// Serves some requests of one client; whether the turn has time for another one.
    fn serve_client(&mut self, worker: &mut Worker, token: Token) -> bool {
        let mut time_left = true;
        for _ in 0..REQUESTS_PER_VISIT {
            let Some(client) = self.clients.get_mut(&token) else { return time_left };
            if client.connection.is_busy() || client.closing {
                break;
            }
            let Some(asked) = client.connection.next_request() else {
                client.more = false;
                client.connection.drop_fds();
                break;
            };
            client.asked = worker.now();
            let refused = client.refused.take();
            client.closing |= refused.is_some();
            let (id, result) = match asked {
                Ok(request) if refused.is_some() => {
                    (request.id, Err(Failure::new(Code::NotAllowed, refused.unwrap_or_default())))
                }
                Ok(request) => {
                    time_left &= !request.call.about().is_report();
                    (request.id, self.call(worker, token, &request.call))
                }
                Err((id, failure)) => (id, Err(failure)),
            };
            let Some(client) = self.clients.get_mut(&token) else { return time_left };
            let (result, fds) = match result {
                Ok((value, fds)) => (Ok(value), fds),
                Err(failure) => (Err(failure), Vec::new()),
            };
            if let Err(over) = client.connection.answer(id, result, fds) {
                self.disconnect(worker, token, &over);
                return time_left;
            }
            if !time_left {
                break;
            }
        }
        self.flush(worker, token);
        time_left
    }

    /// Writes what waits for a client, and watches for what is needed next.
    pub(super) fn flush(&mut self, worker: &mut Worker, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        if let Err(over) = client.connection.write() {
            return self.disconnect(worker, token, &over);
        }
        if client.more && !client.in_line && !client.closing && !client.connection.is_busy() {
            client.in_line = true;
            self.line.push_back(token);
        }
        client.closing |= client.finished && !client.more;
        if client.closing && !client.connection.has_backlog() {
            return self.disconnect(worker, token, &Over::Closed);
        }
        let interest = Interest {
            readable: !client.connection.is_busy() && !client.finished && !client.closing,
            writable: client.connection.has_backlog(),
        };
        if interest != client.interest {
            client.interest = interest;
            let changed = worker.reregister(token, client.connection.fd(), interest);
            if let Err(error) = changed {
                self.disconnect(worker, token, &error.into());
            }
        }
    }

    pub(super) fn flush_all(&mut self) {
        for client in self.clients.values_mut() {
            let _gone = client.connection.write();
        }
    }

    /// A connection is over, and with it what it kept alive.
    pub(super) fn disconnect(&mut self, worker: &mut Worker, token: Token, over: &Over) {
        let Some(client) = self.clients.remove(&token) else { return };
        if !matches!(over, Over::Closed) {
            log::guest(&format!(
                "The connection of {} to api is closed: {over}.",
                client.connection.cred()
            ));
        }
        let _gone = worker.deregister(token, client.connection.fd());
        // The client sees its end now, whatever has to be closed before.
        let _ended = sys::unix::end(client.connection.fd());
        closer::close(client.connection.cred().uid, [client.connection]);
        let Some(network) = self.network_mut(client.network) else { return };
        for capture in client.captures {
            let engine = worker.engine_mut(network.id);
            network.captures.stop(engine, capture);
        }
        let Some(guest) = network.guest_by_session(token) else { return };
        let (name, has_routes) = (guest.name.clone(), !guest.behind().is_empty());
        network.remove_guest(worker, &name, CloseReason::SessionEnded);
        if has_routes {
            self.join_networks(worker);
        }
    }

    /// Tells a session that its guest's port is gone.
    pub(super) fn tell_closed(
        &mut self,
        worker: &mut Worker,
        session: Token,
        guest: &Name,
        why: String,
        ending: Ending,
    ) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        let closed = Closed { guest: guest.as_str().to_owned(), why, ending };
        if let Err(over) = client.connection.event(Event::Closed(closed)) {
            return self.disconnect(worker, session, &over);
        }
        self.flush(worker, session);
    }
}

/// Why a peer that opened `api` may not use it where only peers of our own PID namespace may: a guest that finds the
/// socket of a network must not become its second guest, or its owner.
fn stranger(socket: BorrowedFd<'_>, cred: Cred) -> Option<String> {
    let why = match sys::peer::place(socket, cred) {
        Ok(PeerPlace::Here | PeerPlace::Outside | PeerPlace::Unknown) => return None,
        Ok(PeerPlace::Inside) => {
            "This process is in a PID namespace nested inside the hypervisor's, and guests and containers may not \
            use api"
                .to_owned()
        }
        Ok(PeerPlace::Ended) => "The process that connected has ended".to_owned(),
        Err(error) => format!("The hypervisor cannot tell which process connected ({error})"),
    };
    log::guest(&format!("A connection of {cred} to api was refused: {why}."));
    Some(format!(
        "{why}: run the command outside, or let such processes in with `peers = \"any\"` in the network's \
        configuration."
    ))
}
