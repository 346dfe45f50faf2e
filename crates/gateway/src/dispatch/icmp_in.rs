//! ICMP of guests: echo, router solicitations, and errors about what was sent to them.

use std::net::{IpAddr, SocketAddr};

use engine::Frame;
use sys::inet::Carries;
use wire::ipv4::protocol;
use wire::parse::L3;
use wire::{icmpv4, icmpv6, ndp};

use super::read::Seen;
use super::{Call, Refusal};
use crate::backend::Backend;
use crate::counters::Reason;
use crate::gateway::{Gateway, ctx};
use crate::guests::GuestKey;
use crate::icmp;
use crate::packet::{self, ETHERNET, HEADERS};
use crate::services::Solicitation;
use crate::tcp;
use crate::udp::{Key, Piece};

impl<B: Backend> Gateway<B> {
    /// Takes an ICMP message of this type.
    pub(super) fn icmp(
        &mut self,
        call: &mut Call<'_>,
        seen: &Seen,
        kind: u8,
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let v6 = seen.source.is_ipv6();
        if icmp::is_error(&seen.parsed) {
            let reason = self.icmp_error(call, seen, &frame);
            self.counters.count(reason);
            call.pool.release(frame);
            return Ok(());
        }
        let offset = seen.parsed.l4.map_or(0, |l4| usize::from(l4.offset));
        let len = seen.end.saturating_sub(offset);
        if v6 && kind == ndp::kind::ROUTER_SOLICITATION {
            let IpAddr::V6(source) = seen.source else {
                return Err((frame, (Reason::Malformed, None)));
            };
            self.scratch.clear();
            for piece in packet::slice(call.pool, &frame, offset, len) {
                self.scratch.extend_from_slice(piece);
            }
            let solicitation = Solicitation {
                guest: call.guest,
                mac: seen.parsed.src,
                source,
                hop_limit: seen.ttl,
                message: &self.scratch,
            };
            let taken = self.services.solicitation(call.now, &solicitation);
            self.counters.count(if taken { Reason::Service } else { Reason::NoService });
            call.pool.release(frame);
            return Ok(());
        }
        let request = if v6 { icmpv6::kind::ECHO_REQUEST } else { icmpv4::kind::ECHO_REQUEST };
        if kind != request {
            return Err((frame, (Reason::IcmpIgnored, None)));
        }
        if self.plan.is_own(seen.destination) || self.plan.is_host_internal(seen.destination) {
            if !icmp::is_unicast(seen.source) {
                return Err((frame, (Reason::Source, None)));
            }
            self.counters.count(Reason::EchoAnswered);
            let mut ctx = ctx!(self, call.pool, call.room);
            icmp::answer_echo(&mut ctx, &seen.parsed, &frame, seen.source, seen.destination);
            call.pool.release(frame);
            return Ok(());
        }
        let mut header = [0; 8];
        let mut filled = 0;
        for piece in packet::slice(call.pool, &frame, offset, header.len().min(len)) {
            for (to, from) in header.iter_mut().skip(filled).zip(piece) {
                *to = *from;
            }
            filled += piece.len();
        }
        if filled < header.len() {
            return Err((frame, (Reason::Malformed, None)));
        }
        let id = u16::from_be_bytes([header[4], header[5]]);
        let key = Key { carries: Carries::Echo, guest: SocketAddr::new(seen.source, id) };
        let remote = SocketAddr::new(seen.destination, 0);
        let piece = Piece { offset, len, segment: None };
        self.datagram(call, seen, key, remote, piece, frame)
    }

    /// An ICMP error of a guest, or of a router on the way to it, about a packet that we sent.
    fn icmp_error(&mut self, call: &mut Call<'_>, seen: &Seen, frame: &Frame) -> Reason {
        let mut headers = [0; ETHERNET + HEADERS];
        let offset = seen.parsed.l4.map_or(0, |l4| usize::from(l4.offset));
        let len = seen.end.saturating_sub(offset).min(HEADERS);
        let mut message = [0; HEADERS];
        let mut filled = 0;
        for piece in packet::slice(call.pool, frame, offset, len) {
            if let Some(room) = message.get_mut(filled..filled + piece.len()) {
                room.copy_from_slice(piece);
            }
            filled += piece.len();
        }
        let Some((front, quoted)) =
            message.get(..filled).and_then(|all| all.split_first_chunk::<8>())
        else {
            return Reason::Malformed;
        };
        // The quoted packet, as a frame, so that one parser reads it.
        let v6 = seen.source.is_ipv6();
        let ethertype =
            if v6 { wire::ethernet::ethertype::IPV6 } else { wire::ethernet::ethertype::IPV4 };
        headers[12..14].copy_from_slice(&ethertype.to_be_bytes());
        headers[ETHERNET..ETHERNET + quoted.len()].copy_from_slice(quoted);
        let Ok(inner) = wire::parse(&headers[..ETHERNET + quoted.len()]) else {
            return Reason::Malformed;
        };
        let claimed = inner.claimed_len().unwrap_or_default().saturating_sub(ETHERNET);
        let (source, destination, protocol, at) = match &inner.l3 {
            Some(L3::Ipv4(ip)) => (
                IpAddr::V4(ip.source),
                IpAddr::V4(ip.destination),
                ip.protocol,
                ETHERNET + usize::from(ip.header_len),
            ),
            Some(L3::Ipv6(ip)) => (
                IpAddr::V6(ip.source),
                IpAddr::V6(ip.destination),
                ip.chain.protocol,
                ETHERNET + 40 + usize::from(ip.chain.len),
            ),
            _ => return Reason::IcmpIgnored,
        };
        // A quoted TCP header may end after eight bytes: ports and sequence number.
        let Some(&[a, b, c, d, s0, s1, s2, s3]) =
            headers.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>())
        else {
            return Reason::IcmpIgnored;
        };
        let remote = SocketAddr::new(source, u16::from_be_bytes([a, b]));
        let guest_end = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
        match protocol {
            protocol::UDP if self.publishing.is_about_client(guest_end, remote) => {
                let owner = self.publishing.owner_of_client(guest_end, remote);
                // It goes no further, but the way is the way.
                let _ = self.too_long(call, front, destination, owner);
                Reason::IcmpFromGuest
            }
            protocol::UDP => {
                let key = Key { carries: Carries::Udp, guest: guest_end };
                self.too_long(call, front, destination, self.datagrams.owner(&key))
            }
            protocol::ICMPV6 if a == icmpv6::kind::ECHO_REPLY => {
                let id = u16::from_be_bytes([s0, s1]);
                let key = Key { carries: Carries::Echo, guest: SocketAddr::new(destination, id) };
                self.too_long(call, front, destination, self.datagrams.owner(&key))
            }
            protocol::TCP => {
                let error = tcp::IcmpError::read(v6, *front, claimed);
                let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
                let mut ctx = ctx!(self, call.pool, call.room);
                self.tcp.icmp_error(&mut ctx, call.guest, (guest_end, remote), sequence, error)
            }
            _ => Reason::IcmpIgnored,
        }
    }

    /// An ICMP error, of which this is the front, about a datagram to a guest: if a router says that it was
    /// too long, and the flow is the sender's, the next ones are cut.
    fn too_long(
        &mut self,
        call: &Call<'_>,
        front: &[u8; 8],
        destination: IpAddr,
        owner: Option<GuestKey>,
    ) -> Reason {
        let [icmpv6::kind::TOO_BIG, _, _, _, a, b, c, d] = *front else {
            return Reason::IcmpIgnored;
        };
        let IpAddr::V6(destination) = destination else { return Reason::IcmpIgnored };
        if owner != Some(call.guest) {
            return Reason::IcmpIgnored;
        }
        let (told, most) = (u32::from_be_bytes([a, b, c, d]), usize::from(self.plan.mtu));
        if self.paths.learn(call.now, call.guest, destination, told, most) {
            Reason::IcmpTooBig
        } else {
            Reason::IcmpIgnored
        }
    }
}
