//! Connections to `api`: accepting them, serving their requests, and what ends with them.

use std::os::fd::AsFd;

use sys::poll::Interest;

use super::Daemon;
use crate::api::message::{Closed, Event};
use crate::api::server::{Connection, Over, REQUESTS_PER_VISIT};
use crate::capture::CaptureId;
use crate::link::CloseReason;
use crate::log;
use crate::names::Name;
use crate::worker::{NetworkId, Token, Worker};

/// Connections to `api` of all users together; each holds a descriptor.
const CLIENTS_MAX: usize = 4096;
/// So long connections wait when there are no descriptors for them.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A connection and what depends on it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) network: NetworkId,
    /// The caller may make every call.
    pub(super) control: bool,
    pub(super) captures: Vec<CaptureId>,
    pub(super) interest: Interest,
    /// Whole requests may wait in the connection's buffer.
    pub(super) more: bool,
    /// The client sends no more; what it asked is still answered.
    pub(super) finished: bool,
    /// The client is to be disconnected once its answers are out.
    pub(super) closing: bool,
}

/// What a session is told about the end of its guest's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The link failed; the keeper may bring it again.
    LinkLost,
    /// The port was taken away on purpose; the guest may live on without it.
    Unlinked,
    /// The guest is to end as well.
    GuestEnds,
}

impl Daemon {
    pub(super) fn accept(&mut self, worker: &mut Worker, at: usize) {
        // Bounded: the poller reports the socket again.
        for _ in 0..16 {
            let network = &self.networks[at];
            let (stream, cred) = match sys::unix::accept(network.api.as_fd()) {
                Ok(accepted) => accepted,
                Err(error) => {
                    let nothing = matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionAborted
                    );
                    if !nothing {
                        log::guest(&format!("A connection to api was not accepted: {error}."));
                        self.pause_api(worker, at);
                    }
                    return;
                }
            };
            let of_user = self
                .clients
                .values()
                .filter(|it| it.network == network.id && it.connection.cred().uid == cred.uid)
                .count();
            if of_user >= network.config.clients_per_user || self.clients.len() >= CLIENTS_MAX {
                log::guest(&format!(
                    "A connection of uid {} to api was refused: the limit of connections is reached.",
                    cred.uid
                ));
                continue;
            }
            let id = network.id;
            let own = sys::user::uid();
            let connection = Connection::new(stream, cred);
            match worker.register(connection.fd(), Interest::READABLE) {
                Ok(token) => {
                    let client = Client {
                        connection,
                        network: id,
                        control: cred.uid == own || cred.uid == 0,
                        captures: Vec::new(),
                        interest: Interest::READABLE,
                        more: false,
                        finished: false,
                        closing: false,
                    };
                    self.clients.insert(token, client);
                }
                Err(error) => {
                    log::guest(&format!("A connection to api was not accepted: {error}."));
                }
            }
        }
    }

    /// Without descriptors a connection cannot even be refused: it stays in the queue, and the poller would report it
    /// for ever.
    fn pause_api(&mut self, worker: &mut Worker, at: usize) {
        let network = &mut self.networks[at];
        let paused = worker.reregister(network.api_token, network.api.as_fd(), Interest::NONE);
        if paused.is_ok() {
            network.api_paused = Some(worker.now() + ACCEPT_PAUSE);
        }
    }

    /// Accepts again where the pause is over.
    pub(super) fn resume_api(&mut self, worker: &mut Worker) {
        let now = worker.now();
        for network in &mut self.networks {
            if network.api_paused.is_some_and(|until| until <= now) {
                let fd = network.api.as_fd();
                match worker.reregister(network.api_token, fd, Interest::READABLE) {
                    Ok(()) => network.api_paused = None,
                    Err(_) => network.api_paused = Some(now + ACCEPT_PAUSE),
                }
            }
        }
    }

    /// One visit to a client: read, serve, write.
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
        } else if hangup {
            // Nobody will read what waits.
            return self.disconnect(worker, token, &Over::Closed);
        }
        self.serve_client(worker, token);
    }

    /// Serves clients whose requests wait in their buffers.
    pub(super) fn serve_waiting(&mut self, worker: &mut Worker) {
        let waiting: Vec<Token> =
            self.clients.iter().filter(|(_, it)| it.more).map(|(token, _)| *token).collect();
        for token in waiting {
            self.serve_client(worker, token);
        }
    }

    fn serve_client(&mut self, worker: &mut Worker, token: Token) {
        for _ in 0..REQUESTS_PER_VISIT {
            let Some(client) = self.clients.get_mut(&token) else { return };
            if client.connection.is_busy() || client.closing {
                break;
            }
            let Some(asked) = client.connection.next_request() else {
                client.more = false;
                client.connection.drop_fds();
                break;
            };
            let (id, result) = match asked {
                Ok(request) => (request.id, self.call(worker, token, &request.call)),
                Err((id, failure)) => (id, Err(failure)),
            };
            let Some(client) = self.clients.get_mut(&token) else { return };
            let (result, fds) = match result {
                Ok((value, fds)) => (Ok(value), fds),
                Err(failure) => (Err(failure), Vec::new()),
            };
            if let Err(over) = client.connection.answer(id, result, fds) {
                return self.disconnect(worker, token, &over);
            }
        }
        self.flush(worker, token);
    }

    /// Writes what waits for a client, and watches for what is needed next.
    pub(super) fn flush(&mut self, worker: &mut Worker, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        if let Err(over) = client.connection.write() {
            return self.disconnect(worker, token, &over);
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
    fn disconnect(&mut self, worker: &mut Worker, token: Token, over: &Over) {
        let Some(client) = self.clients.remove(&token) else { return };
        if !matches!(over, Over::Closed) {
            log::guest(&format!(
                "The connection of uid {}, pid {} to api is closed: {over}.",
                client.connection.cred().uid,
                client.connection.cred().pid
            ));
        }
        let _gone = worker.deregister(token, client.connection.fd());
        let Some(network) = self.network_mut(client.network) else { return };
        for capture in client.captures {
            let engine = worker.engine_mut(network.id);
            network.captures.stop(engine, capture);
        }
        if let Some(guest) = network.guest_of_session(token) {
            network.remove_guest(worker, &guest, CloseReason::SessionEnded);
        }
    }

    /// Tells a session that its guest's port is gone.
    pub(super) fn tell_closed(
        &mut self,
        worker: &mut Worker,
        session: Token,
        guest: &Name,
        why: String,
        how: Ending,
    ) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        let (wanted, end) = (how != Ending::LinkLost, how == Ending::GuestEnds);
        let closed = Closed { guest: guest.as_str().to_owned(), why, wanted, end };
        if let Err(over) = client.connection.event(Event::Closed(closed)) {
            return self.disconnect(worker, session, &over);
        }
        self.flush(worker, session);
    }
}
