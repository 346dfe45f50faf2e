//! Frames towards guests.

use engine::{Frame, Lease};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{Gso, GsoKind, MacAddr, Offload, ethernet, ipv4, ipv6, tcp};

use super::key::Key;
use super::seq::Seq;
use crate::Reason;
use crate::ctx::Ctx;

/// Bytes of an IP packet at most, whatever its version: what a large frame is filled up to.
const PACKET_MAX: usize = 65_535;

/// Bytes of the longest frame without payload: IPv6, and all the options there can be.
const CONTROL_MAX: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + tcp::HEADER_LEN_MAX;

/// What a segment says beside its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Says<'a> {
    pub(super) sequence: Seq,
    pub(super) acknowledgement: Seq,
    pub(super) flags: u8,
    /// As it stands in the header.
    pub(super) window: u16,
    pub(super) options: &'a [u8],
}

/// Bytes before the payload of a segment without options.
pub(super) const fn headers_len(key: &Key) -> usize {
    ethernet::HEADER_LEN + ip_header_len(key) + tcp::HEADER_LEN
}

const fn ip_header_len(key: &Key) -> usize {
    if key.is_v6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN }
}

/// The largest payload of a segment without options that `mtu` allows.
pub(super) fn mss_for(key: &Key, mtu: usize) -> u16 {
    let mss = mtu.saturating_sub(ip_header_len(key) + tcp::HEADER_LEN);
    u16::try_from(mss).unwrap_or(u16::MAX)
}

/// The largest payload of a frame: whole segments.
pub(super) fn payload_max(key: &Key, mss: u32) -> u32 {
    let most = (PACKET_MAX - ip_header_len(key) - tcp::HEADER_LEN) as u32;
    (most - most % mss.max(1)).max(mss.min(most))
}

/// Starts a frame with everything up to the payload.
fn begin<'a>(out: &'a mut [u8], key: &Key, says: &Says<'_>) -> Builder<'a> {
    let (guest, remote) = (key.guest(), key.remote());
    let builder = Builder::new(out).ethernet(MacAddr([0; 6]), MacAddr([0; 6]));
    let builder = match (remote.ip(), guest.ip()) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
            builder.ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
        }
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            builder.ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
        }
        // A key has one family.
        _ => builder,
    };
    builder.tcp(&Tcp {
        source: remote.port(),
        destination: guest.port(),
        sequence: says.sequence.0,
        acknowledgement: says.acknowledgement.0,
        flags: says.flags,
        window: says.window,
        urgent: 0,
        options: says.options,
    })
}

/// Sends a segment without payload. Without a buffer for it, it is as if it had been lost.
pub(super) fn control(ctx: &mut Ctx<'_>, key: &Key, says: &Says<'_>) {
    let mut bytes = [0; CONTROL_MAX];
    let Ok((len, checksum)) = begin(&mut bytes, key, says).finish_partial() else { return };
    let offload = Offload { checksum: Some(checksum), gso: None };
    match ctx.pool.copy_in(bytes.get(..len).unwrap_or_default(), offload) {
        Ok(frame) => {
            ctx.counters.count(Reason::TcpIn);
            ctx.out.push_back(frame);
        }
        Err(_) => ctx.counters.count(Reason::PoolEmpty),
    }
}

/// Sends `len` bytes of payload that are in the lease, [`headers_len`] bytes from its beginning.
pub(super) fn data(
    ctx: &mut Ctx<'_>,
    key: &Key,
    says: &Says<'_>,
    lease: Lease,
    len: usize,
    mss: u32,
) {
    let begun = begin(ctx.pool.lease_mut(&lease), key, says);
    let Ok((total, checksum)) = begun.payload_in_place(len).finish_partial() else {
        ctx.pool.give_back(lease);
        return;
    };
    let gso = (len > mss as usize).then(|| Gso {
        kind: if key.is_v6() { GsoKind::Tcp6 } else { GsoKind::Tcp4 },
        size: u16::try_from(mss).unwrap_or(u16::MAX),
        ecn: false,
    });
    let frame = ctx.pool.fill(lease, 0..total, Offload { checksum: Some(checksum), gso });
    ctx.counters.count(Reason::TcpIn);
    ctx.out.push_back(frame);
}

/// The SYN that a guest sent, as far as an ICMP error quotes it.
pub(super) fn quote(ctx: &mut Ctx<'_>, key: &Key, sequence: Seq) -> Option<Frame> {
    let mut bytes = [0; CONTROL_MAX];
    let (guest, remote) = (key.guest(), key.remote());
    let turned = Key::new(remote, guest);
    let says =
        Says { sequence, acknowledgement: Seq(0), flags: tcp::flag::SYN, window: 0, options: &[] };
    let len = begin(&mut bytes, &turned, &says).finish().ok()?;
    ctx.pool.copy_in(bytes.get(..len).unwrap_or_default(), Offload::NONE).ok()
}
