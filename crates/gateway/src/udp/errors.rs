//! From the socket's error queue to ICMP for the guest.

use std::net::SocketAddr;

use engine::Instant;
use sys::inet::Carries;
use wire::ipv4::protocol;

use super::{Datagrams, Host};
use crate::backend::datagram::{DatagramBackend, Origin};
use crate::ctx::Ctx;
use crate::icmp::{self, About};

/// Errors that are taken from one socket at once.
const BATCH: usize = 16;

/// As much of a datagram as an ICMP message quotes.
const QUOTED_MAX: usize = 1280;

impl<B: DatagramBackend> Datagrams<B> {
    /// Takes what the network answered to what was sent, and tells the guest. True if there was
    /// something. `sending` is where the call that failed was to send to.
    pub(super) fn errors(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        at: u32,
        sending: Option<SocketAddr>,
    ) -> bool {
        let mut payload = [0; QUOTED_MAX];
        let mut any = false;
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get(at) else { break };
            let Ok(error) = host.backend.error(&flow.socket, &mut payload) else { break };
            any = true;
            let to = match error.destination {
                Some(to) if error.origin == Origin::Local => Some(with_port(to, sending)),
                to => to,
            };
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

/// The destination of what this host itself did not send. For IPv4 the kernel then tells the address,
/// but as port what the socket is connected to: none, with ours. A guest that is told port 0 does not find
/// its socket, so the port is that of the call that failed (`ip_local_error` of the kernel, which
/// `ipv6_local_error` differs from).
fn with_port(to: SocketAddr, sending: Option<SocketAddr>) -> SocketAddr {
    match sending {
        Some(sending) if to.port() == 0 && to.ip() == sending.ip() => sending,
        _ => to,
    }
}
