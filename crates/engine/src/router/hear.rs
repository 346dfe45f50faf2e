//! What neighbours say: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861, RFC 4862).
//!
//! A packet speaks for the Ethernet address that it comes from and no other: one whose inner address
//! differs is refused, so that the guard's knowledge of who owns an Ethernet address holds for what
//! is said with it. An own address is answered for and defended, also against whoever only asks
//! whether it is free; everybody who claims it is told once in ten seconds.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use wire::checksum::{add, pseudo_v6, sum};
use wire::ethernet::HEADER_LEN as ETHERNET;
use wire::ipv4::protocol;
use wire::{MacAddr, arp, ipv6, ndp};

use super::counters::RouterReason;
use super::decide::Decision;
use super::event::RouterEvent;
use super::limit::rate;
use super::neighbour::{Claim, Said};
use super::packet::{Packet, is_martian_source};
use super::{Arrival, Router};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::time::Instant;

/// Time between two defences of an own address (RFC 5227, 1.1: DEFEND_INTERVAL).
const DEFEND: Duration = Duration::from_secs(10);

impl Router {
    /// An ARP packet.
    pub(super) fn arp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &Frame,
    ) -> Result<Decision, RouterReason> {
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        let from = sender(front).ok_or(RouterReason::Malformed)?;
        let packet = front.get(ETHERNET..).and_then(|bytes| arp::Packet::new(bytes).ok());
        let packet = packet.ok_or(RouterReason::Malformed)?;
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        if !interface.speaks(false) {
            return Err(RouterReason::Protocol);
        }
        let asks = match packet.operation() {
            arp::operation::REQUEST => true,
            arp::operation::REPLY => false,
            _ => return Err(RouterReason::NeighbourIgnored),
        };
        let (sender, target) = (packet.sender_ip(), packet.target_ip());
        if packet.sender_mac() != from || !interface.may_be_neighbour(from) {
            return Err(self.forged(now, arrival, sender.into(), packet.sender_mac()));
        }
        let for_us = interface.owns(target.into());
        // A probe (RFC 5227, 2.1.1) has no sender yet, and all the same wants to be told.
        let is_probe = sender.is_unspecified();
        if !is_probe && interface.owns(sender.into()) {
            if self.defends(now, arrival, sender.into(), from) {
                self.answer_arp(pool, arrival.iface.index, sender, (MacAddr::BROADCAST, sender));
            }
            return Ok(Decision::Noted);
        }
        if !is_probe && (is_martian_source(sender.into()) || !interface.is_neighbour(sender.into()))
        {
            return Err(RouterReason::NeighbourIgnored);
        }
        if asks && for_us {
            let rate = rate(self.limits.echoes_per_port);
            let interface = self.interfaces.get_mut(arrival.iface);
            let interface = interface.ok_or(RouterReason::InterfaceGone)?;
            if !interface.account(arrival.port).echoes.take(now, rate) {
                return Err(RouterReason::RateLimited);
            }
        }
        if !is_probe {
            let said =
                Said { mac: from, port: arrival.port, solicited: !asks && for_us, overrides: true };
            let news = self.hear(now, pool, arrival, sender.into(), said, asks && for_us)?;
            if !(asks && for_us) {
                return news.then_some(Decision::Noted).ok_or(RouterReason::NeighbourIgnored);
            }
        }
        if asks && for_us {
            self.answer_arp(pool, arrival.iface.index, target, (from, sender));
            return Ok(Decision::Answered);
        }
        Err(RouterReason::NeighbourIgnored)
    }

    /// A neighbour solicitation or advertisement.
    pub(super) fn neighbour_discovery(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &Frame,
        packet: &Packet,
    ) -> Result<Decision, RouterReason> {
        let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
        let from = sender(front).ok_or(RouterReason::Malformed)?;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination)
        else {
            return Err(RouterReason::Malformed);
        };
        // RFC 4861, 7.1: nothing of this comes from behind a router, or in pieces.
        let message = front.get(ETHERNET + ipv6::HEADER_LEN..ETHERNET + packet.len);
        let message = message.ok_or(RouterReason::Malformed)?;
        let neighbour = ndp::Neighbour::new(message).map_err(|_| RouterReason::Malformed)?;
        let valid = packet.protocol == protocol::ICMPV6
            && packet.ttl == ndp::HOP_LIMIT
            && message.get(1) == Some(&0)
            && neighbour.options().is_sound()
            && !neighbour.target().is_multicast();
        if !valid {
            return Err(RouterReason::Malformed);
        }
        let len = u32::try_from(message.len()).map_err(|_| RouterReason::Malformed)?;
        if add(pseudo_v6(source, destination, protocol::ICMPV6, len), sum(message)) != 0xffff {
            return Err(RouterReason::Checksum);
        }
        let target = neighbour.target();
        let interface = self.interfaces.get(arrival.iface).ok_or(RouterReason::InterfaceGone)?;
        let for_us = interface.owns(target.into());
        let may_speak = interface.may_be_neighbour(from);
        if message.first() == Some(&ndp::kind::NEIGHBOUR_SOLICITATION) {
            let link = neighbour.link_address(ndp::option::SOURCE_LINK_ADDRESS);
            if source.is_unspecified() {
                // RFC 4861, 7.1.1: a question whether an address is free.
                if link.is_some() || destination != ndp::solicited_node(target) {
                    return Err(RouterReason::Malformed);
                }
                return self.asked(now, pool, arrival, target, None, for_us);
            }
            if link.is_some_and(|link| link != from) || !may_speak {
                let mac = link.unwrap_or(from);
                return Err(self.forged(now, arrival, source.into(), mac));
            }
            if !self.is_neighbour_source(arrival, source) {
                return Err(RouterReason::NeighbourIgnored);
            }
            let answer = self.asked(now, pool, arrival, target, Some((from, source)), for_us);
            if link.is_some() && for_us && answer.is_ok() {
                let said =
                    Said { mac: from, port: arrival.port, solicited: false, overrides: true };
                // What was asked is answered, whatever becomes of who asked.
                let _ = self.hear(now, pool, arrival, source.into(), said, true);
            }
            return answer;
        }
        // RFC 4861, 7.1.2.
        let solicited = neighbour.flags() & ndp::flag::SOLICITED != 0;
        if destination.is_multicast() && solicited {
            return Err(RouterReason::Malformed);
        }
        let link = neighbour.link_address(ndp::option::TARGET_LINK_ADDRESS);
        if link.is_some_and(|link| link != from) || !may_speak {
            let mac = link.unwrap_or(from);
            return Err(self.forged(now, arrival, target.into(), mac));
        }
        if for_us {
            if self.defends(now, arrival, target.into(), from) {
                self.advertise(pool, arrival.iface.index, target, None);
            }
            return Ok(Decision::Noted);
        }
        let overrides = neighbour.flags() & ndp::flag::OVERRIDE != 0;
        let said = Said { mac: from, port: arrival.port, solicited, overrides };
        let news = self.hear(now, pool, arrival, target.into(), said, false)?;
        news.then_some(Decision::Noted).ok_or(RouterReason::NeighbourIgnored)
    }

    fn is_neighbour_source(&self, arrival: Arrival, source: Ipv6Addr) -> bool {
        self.interfaces.get(arrival.iface).is_some_and(|interface| {
            interface.is_neighbour(source.into())
                && !interface.owns(source.into())
                && !is_martian_source(source.into())
        })
    }

    /// Somebody asks for an IPv6 address.
    fn asked(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        target: Ipv6Addr,
        who: Option<(MacAddr, Ipv6Addr)>,
        for_us: bool,
    ) -> Result<Decision, RouterReason> {
        if !for_us {
            return Err(RouterReason::NeighbourIgnored);
        }
        let rate = rate(self.limits.echoes_per_port);
        let interface = self.interfaces.get_mut(arrival.iface);
        let interface = interface.ok_or(RouterReason::InterfaceGone)?;
        if !interface.account(arrival.port).echoes.take(now, rate) {
            return Err(RouterReason::RateLimited);
        }
        self.advertise(pool, arrival.iface.index, target, who);
        Ok(Decision::Answered)
    }

    /// Somebody says who has an address. Whether that was news; `may_add` says that an entry may be
    /// made for it, because it will be needed for the answer to its packets.
    fn hear(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        address: IpAddr,
        said: Said,
        may_add: bool,
    ) -> Result<bool, RouterReason> {
        let key = (arrival.iface.index, address);
        let mut claim = self.neighbours.claim(&key, said, now);
        if claim == Claim::Unknown && may_add && self.neighbours.has_room() {
            self.neighbours.add(key, now, None);
            claim = self.neighbours.claim(&key, said, now);
        }
        match claim {
            Claim::Known => {
                if let Some(number) = self.neighbours.find(&key) {
                    self.flush(pool, number);
                }
                Ok(true)
            }
            Claim::Old | Claim::NotNow | Claim::Unknown => Ok(false),
            Claim::Forged => Err(self.forged(now, arrival, address, said.mac)),
        }
    }

    /// Raises an event about a forged packet, unless one was raised a moment ago.
    fn forged(
        &mut self,
        now: Instant,
        arrival: Arrival,
        addr: IpAddr,
        mac: MacAddr,
    ) -> RouterReason {
        if let Some(interface) = self.interfaces.get_mut(arrival.iface)
            && interface.may_tell(now)
        {
            let (iface, port) = (arrival.iface, arrival.port);
            self.events.push(RouterEvent::Forged { iface, addr, mac, port });
        }
        RouterReason::NeighbourForged
    }

    /// Somebody uses an own address. Whether it is to be defended now.
    fn defends(&mut self, now: Instant, arrival: Arrival, addr: IpAddr, mac: MacAddr) -> bool {
        let Some(interface) = self.interfaces.get_mut(arrival.iface) else { return false };
        if interface.may_tell(now) {
            let (iface, port) = (arrival.iface, arrival.port);
            self.events.push(RouterEvent::AddressConflict { iface, addr, mac, port });
        }
        let due = interface.defended.is_none_or(|before| now >= before + DEFEND);
        if due {
            interface.defended = Some(now);
        }
        due
    }
}

/// The source address of an Ethernet header.
fn sender(front: &[u8]) -> Option<MacAddr> {
    front.get(6..12)?.first_chunk().copied().map(MacAddr)
}
