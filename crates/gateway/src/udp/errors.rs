//! From the socket's error queue to ICMP for the guest.

use std::net::SocketAddr;

use engine::Instant;
use sys::inet::Carries;
use wire::ipv4::protocol;

use super::{Datagrams, Host};
use crate::backend::datagram::DatagramBackend;
use crate::ctx::Ctx;
use crate::icmp::{self, About};

/// Errors that are taken from one socket at once.
const BATCH: usize = 16;

/// As much of a datagram as an ICMP message quotes.
const QUOTED_MAX: usize = 1280;

impl<B: DatagramBackend> Datagrams<B> {
    /// Takes what the network answered to what was sent, and tells the guest. True if there was
    /// something.
    pub(super) fn errors(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        at: u32,
    ) -> bool {
        let mut payload = [0; QUOTED_MAX];
        let mut any = false;
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get(at) else { break };
            let Ok(error) = host.backend.error(&flow.socket, &mut payload) else { break };
            any = true;
            let to = error.destination;
            if let Some(about) = self.about(ctx, at, to) {
                let quoted = payload.get(..error.len).unwrap_or_default();
                icmp::report(ctx, now, &about, &error, quoted);
            }
        }
        any
    }

    /// The flow, in the guest's words. `to` is the destination as the host sees it; that of the last
    /// datagram, if it is not known.
    pub(super) fn about(&self, ctx: &Ctx<'_>, at: u32, to: Option<SocketAddr>) -> Option<About> {
        let key = self.flows.key(at)?;
        let flow = self.flows.get(at)?;
        let to = to.filter(|to| to.is_ipv4() == key.guest.is_ipv4()).unwrap_or(flow.remote);
        Some(About {
            guest: self.flows.guest(at)?,
            protocol: match (key.carries, to.is_ipv6()) {
                (Carries::Udp, _) => protocol::UDP,
                (Carries::Echo, false) => protocol::ICMP,
                (Carries::Echo, true) => protocol::ICMPV6,
            },
            guest_end: key.guest,
            remote: SocketAddr::new(ctx.plan.as_guest_sees(to.ip()), to.port()),
            class: flow.marks.map_or(0, |marks| marks.class),
        })
    }
}
