//! Ports come and go.

use std::time::Duration;

use engine::{Instant, PortId, PortPlan, PortSpec, Reason};
use sys::poll::Interest;

use super::read_batch::Look;
use super::slots::Slot;
use super::standings::Client;
use super::timers::Timer;
use super::{Network, NetworkId, OpenError, Port, Source, Through, Worker, WorkerEvent};
use crate::link::{CloseReason, Link, PortAbout};

/// How long the helper of a device may take to see that a link is gone, at whose frames it perhaps looks.
const RETIREMENT: Duration = Duration::from_secs(10);

impl Worker {
    /// Adds a port with its link; on any error nothing is left behind.
    pub(super) fn open_boxed(
        &mut self,
        net: NetworkId,
        spec: PortSpec,
        link: Box<dyn Link>,
        about: PortAbout,
        through: Option<Through>,
    ) -> Result<PortId, OpenError> {
        let now = self.now();
        let network = self.networks.get_mut(net.0).ok_or(OpenError::NoNetwork)?;
        if network.names.contains_key(&about.name) {
            return Err(OpenError::NameTaken(about.name));
        }
        let plan = PortPlan::validate(spec, &network.plan)?;
        let port = network.engine.add_port(plan)?;
        let sources = match self.watch_link(net, port, link.as_ref()) {
            Ok(sources) => sources,
            Err(e) => {
                if let Some(network) = self.networks.get_mut(net.0) {
                    network.engine.remove_port(&mut self.pool, port);
                }
                return Err(e.into());
            }
        };
        if let Some(network) = self.networks.get_mut(net.0) {
            if let Some(user) = through.and_then(|t| t.user) {
                network.users.opened(user);
            }
            network.names.insert(about.name.clone(), port);
            let entry = Port {
                about,
                link,
                sources,
                through,
                blocked: false,
                look: Look::default(),
                watching_write: false,
                look_set: false,
            };
            network.hold_against(now, port, &entry.about);
            network.ports.insert(port, entry);
        }
        Ok(port)
    }

    fn watch_link(
        &mut self,
        net: NetworkId,
        port: PortId,
        link: &dyn Link,
    ) -> std::io::Result<[Option<Slot>; 2]> {
        let mut sources = [None; 2];
        if let Some(fd) = link.descriptor() {
            let slot = self.sources.insert(Source::Port(net, port));
            if let Err(e) = self.poller.add(fd, slot.to_bits(), Interest::READABLE) {
                self.sources.remove(slot);
                return Err(e);
            }
            sources[0] = Some(slot);
        }
        if let Some(fd) = link.control() {
            let slot = self.sources.insert(Source::PortControl(net, port));
            if let Err(e) = self.poller.add(fd, slot.to_bits(), Interest::READABLE) {
                self.sources.remove(slot);
                if let (Some(fd), Some(first)) = (link.descriptor(), sources[0]) {
                    drop(self.poller.remove(fd));
                    self.sources.remove(first);
                }
                return Err(e);
            }
            sources[1] = Some(slot);
        }
        Ok(sources)
    }

    /// Closes a port; what was queued for it is dropped and counted. Reported as an event.
    pub fn close_port(&mut self, net: NetworkId, port: PortId, why: CloseReason) {
        let now = self.now();
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(mut entry) = network.ports.remove(port) else { return };
        let cut = entry.link.unfinished();
        if cut > 0 {
            network.engine.transmit_failed(port, Reason::LinkClosed, cut);
        }
        if let Some(standing) = network.engine.standing(now, port) {
            network.standings.keep(now, Client::of(&entry.about), standing);
        }
        network.engine.remove_port(&mut self.pool, port);
        let lent = entry.link.lent();
        if !lent.is_empty() {
            self.retired.push_back((now + RETIREMENT, lent));
            self.timers.set(now + RETIREMENT, Timer::Retired);
        }
        // What it said of itself holds no longer, bound or not; the next port may get its number.
        if let (Some(place), Ok(number)) = (&network.router, u16::try_from(port.index())) {
            self.routing.router.purge_port(&mut self.pool, place.iface, number);
        }
        network.names.remove(&entry.about.name);
        if let Some(user) = entry.through.and_then(|t| t.user) {
            network.users.closed(user);
        }
        // A descriptor of which somebody keeps a copy (a tap's, kept by `netherd run`) stays
        // registered after we close ours, so it is taken out by hand.
        for fd in [entry.link.descriptor(), entry.link.control()].into_iter().flatten() {
            drop(self.poller.remove(fd));
        }
        for slot in entry.sources.into_iter().flatten() {
            self.sources.remove(slot);
        }
        if let Some(through) = entry.through
            && let Some(node) = self.nodes.get_mut(through.node.0)
        {
            node.port_closed(port, through.number);
        }
        self.forget_guest(now, net, port);
        self.outbox.push_back(WorkerEvent::PortClosed { net, port, about: entry.about, why });
    }

    /// Releases what links have lent that are gone for long enough.
    pub(super) fn release_retired(&mut self, now: Instant) {
        while let Some((_, frames)) = self.retired.pop_front_if(|(at, _)| *at <= now) {
            frames.into_iter().for_each(|frame| self.pool.release(frame));
        }
    }
}

impl Network {
    /// A port opens: what stood against its client before, it is not rid of.
    fn hold_against(&mut self, now: Instant, port: PortId, about: &PortAbout) {
        let client = Client::of(about);
        let mut standing = self.standings.take(&client);
        if client.is_one() {
            let is_its = |port: &PortId| {
                self.ports.get(*port).is_some_and(|port| Client::of(&port.about) == client)
            };
            let others = self.ports.ports().filter(is_its);
            let others = others.filter_map(|port| self.engine.standing(now, port)?.cut_off());
            standing = others.fold(standing, |all, one| Some(all.map_or(one, |all| all.and(one))));
        }
        if let Some(standing) = standing {
            self.engine.hold_against(now, port, standing);
        }
    }
}
