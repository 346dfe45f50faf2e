//! What the router says itself: questions about neighbours, answers about its own addresses, and
//! errors about packets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::build::{Builder, Ipv6};
use wire::ethernet::HEADER_LEN as ETHERNET;
use wire::icmp_error::{self, IcmpError};
use wire::{MacAddr, Offload, arp, ipv6, ndp, parse};

use super::limit::rate;
use super::{Arrival, Output, Router};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::time::Instant;

/// Bytes of the longest of these packets, errors excepted: a neighbour solicitation.
const SHORT: usize = 128;

impl Router {
    /// Asks all, or one, who has an address.
    pub(super) fn solicit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        egress: u16,
        address: IpAddr,
        one: Option<MacAddr>,
    ) {
        let rate = rate(self.limits.solicitations);
        let Some(interface) = self.interfaces.at_mut(egress) else { return };
        if !interface.solicitations.take(now, rate) {
            return;
        }
        let own = interface.spec.mac;
        let mut out = [0; SHORT];
        let built = match (address, interface.address_for(address)) {
            (IpAddr::V4(target), Some(IpAddr::V4(source))) => {
                interface.counters.arp_sent += 1;
                let packet = parse::Arp {
                    operation: arp::operation::REQUEST,
                    sender_mac: own,
                    sender_ip: source,
                    target_mac: MacAddr::ZERO,
                    target_ip: target,
                };
                let to = one.unwrap_or(MacAddr::BROADCAST);
                Builder::new(&mut out).ethernet(to, own).arp(&packet).finish()
            }
            (IpAddr::V6(target), Some(IpAddr::V6(source))) => {
                interface.counters.nd_sent += 1;
                let group = ndp::solicited_node(target);
                let (mac, to) = one.map_or((ndp::multicast_mac(group), group), |mac| (mac, target));
                Builder::new(&mut out)
                    .ethernet(mac, own)
                    .ipv6(&Ipv6 {
                        source,
                        destination: to,
                        hop_limit: ndp::HOP_LIMIT,
                        ..Ipv6::default()
                    })
                    .neighbour(ndp::kind::NEIGHBOUR_SOLICITATION, 0, target, own)
                    .finish()
            }
            _ => return,
        };
        self.say(pool, egress, out.get(..built.unwrap_or(0)).unwrap_or_default());
    }

    /// Says by ARP that an own address is ours.
    pub(super) fn answer_arp(
        &mut self,
        pool: &mut Pool,
        egress: u16,
        address: Ipv4Addr,
        to: (MacAddr, Ipv4Addr),
    ) {
        let Some(interface) = self.interfaces.at_mut(egress) else { return };
        interface.counters.arp_sent += 1;
        let own = interface.spec.mac;
        let packet = parse::Arp {
            operation: arp::operation::REPLY,
            sender_mac: own,
            sender_ip: address,
            target_mac: to.0,
            target_ip: to.1,
        };
        let mut out = [0; SHORT];
        let built = Builder::new(&mut out).ethernet(to.0, own).arp(&packet).finish();
        self.say(pool, egress, out.get(..built.unwrap_or(0)).unwrap_or_default());
    }

    /// Says by neighbour discovery that an own address is ours; to all if nobody asked by name.
    pub(super) fn advertise(
        &mut self,
        pool: &mut Pool,
        egress: u16,
        address: Ipv6Addr,
        to: Option<(MacAddr, Ipv6Addr)>,
    ) {
        let Some(interface) = self.interfaces.at_mut(egress) else { return };
        interface.counters.nd_sent += 1;
        let own = interface.spec.mac;
        let all = ipv6::ALL_NODES;
        let solicited = if to.is_some() { ndp::flag::SOLICITED } else { 0 };
        let flags = ndp::flag::ROUTER | ndp::flag::OVERRIDE | solicited;
        let (mac, destination) = to.unwrap_or((ndp::multicast_mac(all), all));
        let mut out = [0; SHORT];
        let built = Builder::new(&mut out)
            .ethernet(mac, own)
            .ipv6(&Ipv6 {
                source: address,
                destination,
                hop_limit: ndp::HOP_LIMIT,
                ..Ipv6::default()
            })
            .neighbour(ndp::kind::NEIGHBOUR_ADVERTISEMENT, flags, address, own)
            .finish();
        self.say(pool, egress, out.get(..built.unwrap_or(0)).unwrap_or_default());
    }

    /// Tells the sender of a packet why it goes no further, if that may be told now.
    pub(super) fn complain(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: &Frame,
        error: IcmpError,
    ) {
        let [first, second] = pool.pieces(frame);
        let Some((ethernet, packet)) = first.split_at_checked(ETHERNET) else { return };
        let (to, from) = match *ethernet {
            [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] => {
                (MacAddr([d0, d1, d2, d3, d4, d5]), MacAddr([s0, s1, s2, s3, s4, s5]))
            }
            _ => return,
        };
        if to.is_multicast() || !icmp_error::may_answer(error, packet) {
            return;
        }
        let Some(sender) = source_of(packet) else { return };
        let elsewhere = |router: &Self| {
            let mut all = router.interfaces.iter();
            all.find_map(|other| other.address_for(sender).filter(|ip| !is_link_local(*ip)))
        };
        let Some(interface) = self.interfaces.get(arrival.iface) else { return };
        // An interface without an address of its own borrows one (RFC 1812, 5.2.7).
        let Some(source) = interface.address_for(sender).or_else(|| elsewhere(self)) else {
            return;
        };
        let limits = self.limits;
        let Some(interface) = self.interfaces.get_mut(arrival.iface) else { return };
        let allowed =
            interface.account(arrival.port).errors.take(now, rate(limits.errors_per_port))
                && interface.errors.take(now, rate(limits.errors));
        if !allowed {
            interface.counters.errors_suppressed += 1;
            return;
        }
        let own = interface.spec.mac;
        let (to, from) = if arrival.from_gateway { (from, to) } else { (from, own) };
        // What does not fit the network is not quoted.
        let headers = if source.is_ipv4() { 28 } else { 48 };
        let room = usize::from(interface.spec.mtu).saturating_sub(headers);
        let packet = packet.get(..room).unwrap_or(packet);
        let second = second.get(..room - packet.len()).unwrap_or(second);
        let mut out = [0; icmp_error::FRAME_LEN_MAX];
        let Ok(len) = icmp_error::build(&mut out, to, from, source, error, &[packet, second])
        else {
            return;
        };
        let out = out.get(..len).unwrap_or_default();
        if !arrival.from_gateway {
            interface.counters.errors_sent += 1;
            self.say(pool, arrival.iface.index, out);
        } else if let Ok(frame) = pool.copy_in(out, Offload::NONE) {
            interface.counters.errors_sent += 1;
            self.output.push_back(Output::Gateway { iface: arrival.iface, frame });
        }
    }

    /// Puts out a frame of the router's own.
    fn say(&mut self, pool: &mut Pool, egress: u16, bytes: &[u8]) {
        let Some(interface) = self.interfaces.at(egress) else { return };
        let iface = interface.id;
        if bytes.is_empty() || self.output.len() >= super::OUTPUT_MAX {
            return;
        }
        // Without a buffer it is as if it were lost on the way.
        if let Ok(frame) = pool.copy_in(bytes, Offload::NONE) {
            self.output.push_back(Output::Transmit { iface, frame });
        }
    }
}

fn source_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(12..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        6 => packet.get(8..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
