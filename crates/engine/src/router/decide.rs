//! What becomes of a packet: the checks, in their order, and the look-ups.
//!
//! Nothing is sent here. A decision names what is to be done, so that the frame has one owner and
//! every packet one end; see `Router::act`.

use core::net::IpAddr;

use wire::ethernet::{HEADER_LEN as ETHERNET, ethertype};
use wire::icmp_error::IcmpError;
use wire::ipv4::{Fragment, protocol};
use wire::{MacAddr, icmpv4, icmpv6, ipv6, ndp, offload};

use super::counters::RouterReason;
use super::interface::{Way, group_mac};
use super::limit::rate;
use super::packet::{Packet, is_group, is_link_scope, is_martian_destination, is_martian_source};
use super::routes::Target;
use super::spec::{InterfaceId, InterfaceSpec, Via};
use super::{Arrival, Router};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::time::Instant;

/// Ports of multicast DNS (RFC 6762) and LLMNR (RFC 4795).
const DISCOVERY: [u16; 2] = [5353, 5355];

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    /// It goes out.
    Forward(Way),
    /// It goes out by the interface that it came in by, to this Ethernet address.
    Group(MacAddr),
    /// It goes to a gateway.
    Gateway(InterfaceId),
    /// It was turned into the answer.
    Reply,
    /// It was answered.
    Answered,
    /// It told something.
    Noted,
    /// It ends here.
    Drop(RouterReason),
    /// It ends here, and its sender is told.
    Refuse(RouterReason, IcmpError),
}

impl From<RouterReason> for Decision {
    fn from(reason: RouterReason) -> Self {
        Self::Drop(reason)
    }
}

impl Router {
    /// Decides about a frame from a network.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &mut Frame,
    ) -> Result<Decision, RouterReason> {
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        let head = front.first_chunk::<ETHERNET>().ok_or(RouterReason::Malformed)?;
        let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *head;
        let to = MacAddr([d0, d1, d2, d3, d4, d5]);
        if to != interface.spec.mac && !to.is_multicast() {
            return Err(RouterReason::OtherStation);
        }
        if u16::from_be_bytes([t0, t1]) == ethertype::ARP {
            return self.arp(now, pool, arrival, frame);
        }
        let packet = Packet::read(front, frame.len())?;
        if !interface.speaks(packet.is_v6()) {
            return Err(RouterReason::Protocol);
        }
        if frame.offload().gso.is_none() {
            Pool::truncate(frame, ETHERNET + packet.len);
        }
        if to.is_multicast() || is_group(packet.destination) {
            return self.for_many(now, pool, arrival, frame, &packet);
        }
        self.for_one(now, pool, arrival, frame, &packet)
    }

    /// A packet from a network for one station.
    #[inline]
    fn for_one(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &mut Frame,
        packet: &Packet,
    ) -> Result<Decision, RouterReason> {
        let generation = self.generation;
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        if interface.hints.source != Some((packet.source, generation)) {
            self.check_source(arrival, packet)?;
        }
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        // A source that is remembered means something on other networks too.
        if let Some((known, its, way)) = interface.hints.way
            && known == packet.destination
            && its == generation
            && interface.hints.source == Some((packet.source, generation))
        {
            return self.forward(pool, arrival, frame, packet, way);
        }
        if is_martian_destination(packet.destination) {
            return Err(RouterReason::MartianDestination);
        }
        if let IpAddr::V6(ip) = packet.destination
            && interface.link_local == Some(ip)
        {
            return self.local(now, pool, arrival, frame, packet, arrival.iface);
        }
        let target = self.routes.find(packet.destination);
        if let Some(Target::Own(own)) = target {
            return self.local(now, pool, arrival, frame, packet, own);
        }
        if is_link_scope(packet.destination) {
            return Err(RouterReason::LinkScope);
        }
        if is_link_scope(packet.source) {
            return Ok(Decision::Refuse(RouterReason::LinkScope, IcmpError::BeyondScope));
        }
        let (egress, next) = match target {
            Some(Target::Via(Via::Interface(egress))) => (egress, packet.destination),
            Some(Target::Via(Via::NextHop { iface, addr })) => (iface, addr),
            Some(Target::Via(Via::Gateway(gateway))) => {
                return self.outwards(arrival, packet, gateway);
            }
            None if interface.spec.outside => {
                return self.outwards(arrival, packet, arrival.iface);
            }
            None => return Ok(Decision::Refuse(RouterReason::NoRoute, IcmpError::NoRoute)),
            Some(Target::Via(Via::Unreachable)) => {
                let error = IcmpError::AddressUnreachable;
                return Ok(Decision::Refuse(RouterReason::Unreachable, error));
            }
            Some(Target::Via(Via::Prohibit)) => return Ok(PROHIBITED),
            Some(Target::Broadcast(_)) => return Err(RouterReason::DirectedBroadcast),
            // Was looked at above.
            Some(Target::Own(_)) => return Err(RouterReason::NoService),
        };
        let way = Way { egress: egress.index, next };
        let out = self.interfaces.get(egress).ok_or(RouterReason::NoRoute)?;
        let (routed, hairpin) = (out.spec.routed, out.spec.hairpin);
        let interface = self.interfaces.get_mut(arrival.iface);
        let interface = interface.ok_or(RouterReason::InterfaceGone)?;
        if egress == arrival.iface {
            if !hairpin {
                return Ok(Decision::Refuse(RouterReason::Hairpin, IcmpError::Prohibited));
            }
        } else if !(routed && interface.spec.routed) {
            return Ok(PROHIBITED);
        }
        interface.hints.way = Some((packet.destination, generation, way));
        self.forward(pool, arrival, frame, packet, way)
    }

    /// Whether a packet with this source can have come in here, and remembers that it can.
    fn check_source(&mut self, arrival: Arrival, packet: &Packet) -> Result<(), RouterReason> {
        let source = packet.source;
        if is_martian_source(source) {
            return Err(RouterReason::MartianSource);
        }
        let interface = self.interfaces.get_mut(arrival.iface);
        let interface = interface.ok_or(RouterReason::InterfaceGone)?;
        if is_link_scope(source) {
            // Its own network is the only one on which it means something.
            return match source {
                IpAddr::V6(ip) if interface.link_local == Some(ip) => {
                    Err(RouterReason::MartianSource)
                }
                IpAddr::V6(_) => Ok(()),
                IpAddr::V4(_) => Err(RouterReason::LinkScope),
            };
        }
        match self.routes.find(source) {
            Some(Target::Via(Via::Interface(back) | Via::NextHop { iface: back, .. }))
                if back == arrival.iface =>
            {
                interface.hints.source = Some((source, self.generation));
                Ok(())
            }
            Some(Target::Own(_) | Target::Broadcast(_)) => Err(RouterReason::MartianSource),
            _ => Err(RouterReason::ReversePath),
        }
    }

    /// A packet on its way to a neighbour: what could still be wrong with it.
    #[inline]
    fn forward(
        &self,
        pool: &Pool,
        arrival: Arrival,
        frame: &Frame,
        packet: &Packet,
        way: Way,
    ) -> Result<Decision, RouterReason> {
        if packet.ttl <= 1 && !arrival.from_gateway {
            return Ok(EXPIRED);
        }
        let out = self.interfaces.at(way.egress).ok_or(RouterReason::NoRoute)?;
        let mtu = usize::from(out.spec.mtu);
        let gso = frame.offload().gso.is_some();
        let longest = if gso {
            let front = pool.front(frame).unwrap_or_default();
            offload::max_wire_len(&frame.offload(), front, frame.len()).saturating_sub(ETHERNET)
        } else {
            packet.len
        };
        if longest > mtu && (packet.dont_fragment || gso) {
            let error = IcmpError::TooBig { mtu: out.spec.mtu.into() };
            return Ok(Decision::Refuse(RouterReason::TooBig, error));
        }
        Ok(Decision::Forward(way))
    }

    /// A packet on its way outside.
    fn outwards(
        &self,
        arrival: Arrival,
        packet: &Packet,
        gateway: InterfaceId,
    ) -> Result<Decision, RouterReason> {
        let out = self.interfaces.get(gateway).ok_or(RouterReason::NoRoute)?;
        if gateway != arrival.iface {
            let here = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
            if !(here.spec.routed && out.spec.routed) {
                return Ok(PROHIBITED);
            }
        }
        if packet.ttl <= 1 {
            return Ok(EXPIRED);
        }
        Ok(Decision::Gateway(gateway))
    }

    /// A packet for an own address.
    fn local(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &mut Frame,
        packet: &Packet,
        own: InterfaceId,
    ) -> Result<Decision, RouterReason> {
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        let mut upper = packet.protocol;
        let mut at = ETHERNET + packet.header_len;
        let mut whole = packet.fragment == Fragment::Whole;
        let mut later = packet.fragment == Fragment::Later;
        let mut pointer = 0;
        if packet.is_v6() {
            let rest = front.get(at..).unwrap_or_default();
            let chain = ipv6::walk(upper, rest).map_err(|_| RouterReason::Malformed)?;
            if chain.routed {
                return Err(RouterReason::SourceRouted);
            }
            upper = chain.protocol;
            at += usize::from(chain.len);
            whole = !chain.fragment.is_part();
            later = chain.fragment == Fragment::Later;
            pointer = chain.pointer();
        }
        let kind = front.get(at).copied().filter(|_| !later);
        let echo = match (upper, packet.is_v6()) {
            (protocol::ICMP, false) => kind == Some(icmpv4::kind::ECHO_REQUEST),
            (protocol::ICMPV6, true) => {
                if let Some(
                    ndp::kind::NEIGHBOUR_SOLICITATION | ndp::kind::NEIGHBOUR_ADVERTISEMENT,
                ) = kind
                {
                    return self.neighbour_discovery(now, pool, arrival, frame, packet);
                }
                kind == Some(icmpv6::kind::ECHO_REQUEST)
            }
            _ => false,
        };
        let elsewhere = own != arrival.iface;
        if elsewhere {
            let routed = |id| self.interfaces.get(id).is_some_and(|i| i.spec.routed);
            if !(routed(own) && routed(arrival.iface)) {
                return Ok(PROHIBITED);
            }
        }
        let interface = self.interfaces.get_mut(arrival.iface);
        let interface = interface.ok_or(RouterReason::InterfaceGone)?;
        if echo && whole {
            let rate = rate(self.limits.echoes_per_port);
            if !interface.account(arrival.port).echoes.take(now, rate) {
                return Err(RouterReason::RateLimited);
            }
            return answer_echo(pool, frame, packet, at);
        }
        if !elsewhere && interface.spec.gateway {
            return Ok(Decision::Gateway(own));
        }
        // Whoever puts packets together is a gateway, which answers echo requests for its addresses.
        if matches!(upper, protocol::ICMP | protocol::ICMPV6)
            && !whole
            && (echo || later)
            && self.interfaces.get(own).is_some_and(|interface| interface.spec.gateway)
        {
            return Ok(Decision::Gateway(own));
        }
        let error = match upper {
            // The services of a network are its guests' alone.
            _ if elsewhere => IcmpError::Prohibited,
            protocol::UDP | protocol::TCP => IcmpError::PortUnreachable,
            protocol::ICMP | protocol::ICMPV6 | protocol::NO_NEXT => {
                return Err(RouterReason::NoService);
            }
            _ => IcmpError::ProtocolUnreachable { pointer },
        };
        Ok(Decision::Refuse(RouterReason::NoService, error))
    }

    /// A packet for many, by its Ethernet address or by its IP address.
    fn for_many(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &Frame,
        packet: &Packet,
    ) -> Result<Decision, RouterReason> {
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        if !is_group(packet.destination) {
            // RFC 1122, 3.3.6: as if the sender meant to make many speak.
            return Err(match self.routes.find(packet.destination) {
                Some(Target::Broadcast(there)) if there != arrival.iface => {
                    RouterReason::DirectedBroadcast
                }
                _ => RouterReason::Multicast,
            });
        }
        let InterfaceSpec { gateway, discovery, .. } = interface.spec;
        if gateway
            && (packet.is_for_dhcp_server(front)
                || (discovery && DISCOVERY.iter().any(|port| packet.is_for_port(front, *port))))
        {
            return Ok(Decision::Gateway(arrival.iface));
        }
        if packet.is_v6() && packet.protocol == protocol::ICMPV6 {
            match front.get(ETHERNET + ipv6::HEADER_LEN).copied() {
                Some(ndp::kind::NEIGHBOUR_SOLICITATION | ndp::kind::NEIGHBOUR_ADVERTISEMENT) => {
                    return self.neighbour_discovery(now, pool, arrival, frame, packet);
                }
                Some(ndp::kind::ROUTER_SOLICITATION)
                    if interface.spec.gateway && packet.ttl == ndp::HOP_LIMIT =>
                {
                    return Ok(Decision::Gateway(arrival.iface));
                }
                Some(ndp::kind::ROUTER_ADVERTISEMENT) => {
                    return Err(RouterReason::NeighbourIgnored);
                }
                _ => {}
            }
        }
        Err(RouterReason::Multicast)
    }

    /// Decides about a packet from a gateway.
    pub(super) fn decide_inwards(
        &mut self,
        pool: &Pool,
        arrival: Arrival,
        frame: &Frame,
    ) -> Result<Decision, RouterReason> {
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        let packet = Packet::read(front, frame.len())?;
        // Whoever spoke to the gateway from a link of its own is not of this one.
        if is_link_scope(packet.source) && !interface.owns(packet.source) {
            return Err(RouterReason::LinkScope);
        }
        let given = front.first_chunk().copied().map(MacAddr).filter(|mac| !mac.is_zero());
        let here = Way { egress: arrival.iface.index, next: packet.destination };
        if let Some(mac) = given.or_else(|| group_mac(packet.destination)) {
            return Ok(match self.forward(pool, arrival, frame, &packet, here)? {
                Decision::Forward(_) => Decision::Group(mac),
                other => other,
            });
        }
        let (egress, next) = match self.routes.find(packet.destination) {
            _ if is_link_scope(packet.destination) => (arrival.iface, packet.destination),
            Some(Target::Via(Via::Interface(egress))) => (egress, packet.destination),
            Some(Target::Via(Via::NextHop { iface, addr })) => (iface, addr),
            Some(Target::Broadcast(there)) if there == arrival.iface => {
                return Ok(Decision::Group(MacAddr::BROADCAST));
            }
            _ => return Ok(Decision::Refuse(RouterReason::NoRoute, IcmpError::NoRoute)),
        };
        let way = Way { egress: egress.index, next };
        self.forward(pool, arrival, frame, &packet, way)
    }
}

const PROHIBITED: Decision = Decision::Refuse(RouterReason::Prohibited, IcmpError::Prohibited);
const EXPIRED: Decision = Decision::Refuse(RouterReason::TimeExceeded, IcmpError::TimeExceeded);

/// Turns an echo request into its reply, where it is: addresses change places, which no sum
/// notices; type and TTL change, and the sums with them.
fn answer_echo(
    pool: &mut Pool,
    frame: &mut Frame,
    packet: &Packet,
    at: usize,
) -> Result<Decision, RouterReason> {
    let bytes = pool.header_mut(frame, at + 4).ok_or(RouterReason::NoBuffer)?;
    let (head, icmp) = bytes.split_at_mut_checked(at).ok_or(RouterReason::Malformed)?;
    let (ethernet, ip) = head.split_at_mut_checked(ETHERNET).ok_or(RouterReason::Malformed)?;
    if let Some((to, rest)) = ethernet.split_at_mut_checked(6)
        && let Some(from) = rest.get_mut(..6)
    {
        to.swap_with_slice(from);
    }
    let (first, len) = if packet.is_v6() { (8, 16) } else { (12, 4) };
    if let Some((source, destination)) =
        ip.get_mut(first..first + 2 * len).and_then(|both| both.split_at_mut_checked(len))
    {
        source.swap_with_slice(destination);
    }
    let reply = if packet.is_v6() { icmpv6::kind::ECHO_REPLY } else { icmpv4::kind::ECHO_REPLY };
    if packet.is_v6() {
        if let Some(hop_limit) = ip.get_mut(7) {
            *hop_limit = OWN_TTL;
        }
    } else {
        super::rewrite::set_ttl(ip, OWN_TTL);
    }
    if let Some([kind, code, hi, lo]) = icmp.first_chunk_mut() {
        let (old, new) = (u16::from_be_bytes([*kind, *code]), u16::from_be_bytes([reply, *code]));
        let sum = wire::checksum::update(u16::from_be_bytes([*hi, *lo]), old, new);
        [*hi, *lo] = sum.to_be_bytes();
        *kind = reply;
    }
    Ok(Decision::Reply)
}

/// The TTL of what the router says itself (RFC 1700; RFC 1122, 3.2.1.7).
const OWN_TTL: u8 = 64;
