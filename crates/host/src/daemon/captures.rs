//! Captures of callers: how they begin, and how frames get to them.

use super::Daemon;
use super::calls::gone;
use super::reports;
use crate::api::message::{CaptureArgs, Capturing, Code, Failure};
use crate::capture::{CaptureError, SNAPLEN_MAX, Wish};
use crate::worker::{Token, Worker};

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        let code = match error {
            CaptureError::TooMany => Code::Limit,
            CaptureError::Io(_) => Code::System,
        };
        Self::new(code, error.to_string())
    }
}

impl Daemon {
    /// The call `capture`: it ends with the caller's connection.
    pub(super) fn start_capture(
        &mut self,
        worker: &mut Worker,
        token: Token,
        args: &CaptureArgs,
    ) -> Result<Capturing, Failure> {
        let id = self.clients.get(&token).map(|it| it.network).ok_or_else(gone)?;
        let network = self.network(id).ok_or_else(gone)?;
        let named = args.port.as_deref();
        let awaited = named.filter(|name| network.is_absent(worker, name));
        let port = network.port_of(worker, named.filter(|_| awaited.is_none()), None)?;
        let awaited = awaited.map(str::to_owned);
        let filter = network.filter(args.filter.as_deref())?;
        let out = self.take_fds(token, 1)?.into_iter().next().ok_or_else(gone)?;
        let snaplen = match args.snaplen {
            0 => SNAPLEN_MAX,
            bytes => bytes.min(SNAPLEN_MAX),
        };
        let network = self.network_mut(id).ok_or_else(gone)?;
        let (now, name) = (worker.now(), network.config.name.clone());
        let wish = Wish { port, awaited, filter, snaplen };
        let capture = network.captures.start(worker.engine_mut(id), now, &name, wish, out)?;
        if let Some(client) = self.clients.get_mut(&token) {
            client.captures.push(capture);
        }
        Ok(Capturing { snaplen })
    }

    /// Hands what engines have for captures to their writers, and ends those whose readers have gone.
    pub(super) fn pump_captures(&mut self, worker: &mut Worker) {
        for network in &mut self.networks {
            if network.captures.is_empty() {
                continue;
            }
            let id = network.id;
            let records = network.captures.take(worker.engine_mut(id));
            network.captures.offer(worker.engine(id), records, &|port| {
                reports::describe_port(worker, id, port)
            });
            for ended in network.captures.ended() {
                network.captures.stop(worker.engine_mut(id), ended);
            }
        }
    }
}
