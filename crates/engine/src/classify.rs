//! The first pass of ingress: what a frame is, and whether it may be one.
//!
//! Reads the Ethernet header and the tag of every frame of a batch, takes the tag off, holds offload
//! metadata against the bytes, refuses what is malformed, asks the guard's short way, and hashes the
//! addresses for the next pass. Nothing is learned here: whose address it is comes later.

use wire::ethernet::ethertype;
use wire::vlan::is_tag;
use wire::{GsoKind, OffloadError, offload};

use crate::engine::Engine;
use crate::frame::{Cast, Frame};
use crate::guard::{Packed, Reach, Role, passes};
use crate::keyed::{Key, Place};
use crate::plan::{NetworkSpec, SourceMode};
use crate::pool::Pool;
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::vlan::VlanMode;

/// Bytes of an Ethernet header and one tag, which an MTU does not count.
pub(crate) const ETHERNET_AND_TAG: usize = ETHERNET + TAG;

const ETHERNET: usize = wire::ethernet::HEADER_LEN;
const TAG: usize = wire::vlan::TAG_LEN;

/// 01:80:c2:00:00:00, the first of sixteen addresses that never leave a link (IEEE 802.1Q table
/// 8-1).
const RESERVED_GROUP: u64 = 0x0180_c200_0000;

const BROADCAST: u64 = 0xffff_ffff_ffff;
const GROUP_BIT: u64 = 1 << 40;

/// What the passes tell each other about one frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) src: Key,
    pub(crate) dst: Key,
    /// Where the source may be in the table of learned addresses.
    pub(crate) src_place: Place,
    /// Where the destination may be in it, and in that of bound addresses.
    pub(crate) dst_place: Place,
    pub(crate) bound_place: Place,
    /// The tag that was taken off.
    pub(crate) removed_tag: Option<u16>,
    pub(crate) refused: Option<Reason>,
    /// The guard has to look at it more closely.
    pub(crate) judge: bool,
    /// To which ports it may go, if it goes to many.
    pub(crate) reach: Reach,
    /// The packet's destination, if the guard looked for it.
    pub(crate) destination: Packed,
}

/// What the first pass reads besides the frames.
struct Setting<'a> {
    network: &'a NetworkSpec,
    port: &'a Port,
    hub: bool,
    /// The longest untagged frame.
    longest: usize,
    /// The broadcast address of the network's own IPv4 addresses.
    subnet: u32,
}

impl Engine {
    /// The first pass.
    pub(crate) fn classify(
        &mut self,
        pool: &mut Pool,
        port: PortId,
        hub: bool,
        frames: &mut [Frame],
        work: &mut [Work],
    ) {
        let Self { network, ports, macs, .. } = self;
        let Some(port) = ports.get_mut(port) else { return };
        let learns = port.spec.source != SourceMode::Static;
        let setting = Setting {
            network,
            port,
            hub,
            longest: usize::from(network.mtu) + ETHERNET,
            subnet: network.guard.subnet.map_or(u32::MAX, |net| net.broadcast().into()),
        };
        let (mut bytes, mut multicast, mut broadcast) = (0, 0, 0);
        for (frame, work) in frames.iter_mut().zip(work) {
            bytes += frame.len() as u64;
            frame.origin = setting.port.id.index;
            *work = Work::default();
            work.refused = read_headers(&setting, pool, frame, work).err();
            match frame.cast {
                Cast::Unicast if !hub => {
                    if macs.has_learned() {
                        work.dst_place = macs.learned().home(work.dst);
                    }
                    if macs.has_bound() {
                        work.bound_place = macs.bound().home(Key::new(0, work.dst.mac()));
                    }
                }
                Cast::Unicast => {}
                Cast::Multicast => multicast += 1,
                Cast::Broadcast => broadcast += 1,
            }
            if learns && !hub {
                work.src_place = macs.learned().home(work.src);
            }
        }
        port.counters.rx_frames += frames.len() as u64;
        port.counters.rx_bytes += bytes;
        port.counters.rx_multicast += multicast;
        port.counters.rx_broadcast += broadcast;
        port.counters.rx_unicast += frames.len() as u64 - multicast - broadcast;
    }
}

/// Reads the addresses and the tag, takes the tag off, refuses what is malformed, and finds out
/// whether the guard has to look closer.
#[inline]
fn read_headers(
    setting: &Setting<'_>,
    pool: &mut Pool,
    frame: &mut Frame,
    work: &mut Work,
) -> Result<(), Reason> {
    let &Setting { network, port, hub, longest, subnet } = setting;
    let Some(mut bytes) = pool.front(frame) else { return Err(Reason::BadFraming) };
    let Some(head) = bytes.first_chunk::<ETHERNET>() else { return Err(Reason::Runt) };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *head;
    // Eight bytes with the address in them are one load; six would be several.
    let dst = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, s0, s1]) >> 16;
    let src = u64::from_be_bytes([d4, d5, s0, s1, s2, s3, s4, s5]) & 0xffff_ffff_ffff;
    let ethertype = u16::from_be_bytes([t0, t1]);
    frame.cast = match dst {
        BROADCAST => Cast::Broadcast,
        _ if dst & GROUP_BIT != 0 => Cast::Multicast,
        _ => Cast::Unicast,
    };
    frame.tci = port.access;
    frame.inner_tag = false;
    if is_tag(ethertype) || port.access == 0 {
        take_tag(pool, port, ethertype, frame, work)?;
        bytes = pool.front(frame).unwrap_or_default();
    }
    let vid = frame.tci & 0xfff;
    work.src = Key::new(vid, src);
    work.dst = Key::new(vid, dst);
    if !frame.offload.is_none() {
        check_offload(pool, network, port, frame)?;
        bytes = pool.front(frame).unwrap_or_default();
    }
    // With segmentation, the longest segment was held against the MTU above.
    let longest = if frame.inner_tag { longest + TAG } else { longest };
    if frame.len() > longest && frame.offload.gso.is_none() {
        return Err(Reason::Oversize);
    }
    if src == 0 || src & GROUP_BIT != 0 {
        return Err(Reason::BadSource);
    }
    if dst & !0xf == RESERVED_GROUP && !hub && !is_guarded(port) {
        return Err(Reason::ReservedGroup);
    }
    if let Some(guard) = &port.guard {
        let sources = (guard.role != Role::Router).then_some((&guard.cache, work.src));
        match passes(sources, bytes, frame.len(), frame.cast, subnet) {
            Some(destination) => work.destination = destination,
            None => work.judge = true,
        }
    }
    Ok(())
}

/// Whether the port's guard decides about the groups of bridges (checks 4 and 5), by their actions.
#[cold]
fn is_guarded(port: &Port) -> bool {
    port.guard.as_ref().is_some_and(|guard| guard.role == Role::Guest)
}

/// Takes the tag off a tagged frame, or gives an untagged one of a trunk its VLAN.
#[cold]
fn take_tag(
    pool: &mut Pool,
    port: &Port,
    ethertype: u16,
    frame: &mut Frame,
    work: &mut Work,
) -> Result<(), Reason> {
    let body = pool.front(frame).unwrap_or_default();
    let (tci, removed, inner_tag) = read_tag(body, ethertype, &port.spec.vlan)?;
    if removed.is_some() && !pool.remove_tag(frame) {
        return Err(Reason::BadFraming);
    }
    frame.tci = tci;
    frame.inner_tag = inner_tag;
    work.removed_tag = removed;
    Ok(())
}

/// The VLAN of a frame: its tag control information, the tag to be taken off, and whether a tag is
/// left in the payload.
fn read_tag(
    body: &[u8],
    ethertype: u16,
    mode: &VlanMode,
) -> Result<(u16, Option<u16>, bool), Reason> {
    if !is_tag(ethertype) {
        return match mode {
            VlanMode::Access(vid) | VlanMode::Trunk { native: Some(vid), .. } => {
                Ok((*vid, None, false))
            }
            VlanMode::Trunk { native: None, .. } => Err(Reason::VlanUntagged),
        };
    }
    let Some(&[hi, lo, t0, t1]) = body.get(ETHERNET..).and_then(|rest| rest.first_chunk()) else {
        return Err(Reason::Runt);
    };
    let tci = u16::from_be_bytes([hi, lo]);
    let (vid, rest) = (tci & 0xfff, tci & 0xf000);
    let inner_tag = is_tag(u16::from_be_bytes([t0, t1]));
    match mode {
        VlanMode::Access(_) if inner_tag => Err(Reason::VlanDouble),
        _ if ethertype != ethertype::VLAN => Err(Reason::VlanTagged),
        VlanMode::Access(own) if vid == 0 => Ok((rest | own, Some(tci), false)),
        VlanMode::Access(_) => Err(Reason::VlanTagged),
        VlanMode::Trunk { native: Some(native), .. } if vid == 0 => {
            Ok((rest | native, Some(tci), inner_tag))
        }
        VlanMode::Trunk { native: None, .. } if vid == 0 => Err(Reason::VlanUntagged),
        mode if mode.carries(vid, inner_tag) => Ok((tci, Some(tci), inner_tag)),
        VlanMode::Trunk { .. } => Err(Reason::VlanNotAllowed),
    }
}

/// Holds offload metadata against the port's link, its guard's bounds (segments at most, bytes of a
/// TCP segment at least), and against the frame.
#[cold]
fn check_offload(
    pool: &mut Pool,
    network: &NetworkSpec,
    port: &Port,
    frame: &mut Frame,
) -> Result<(), Reason> {
    let (segments, segment_min) = port
        .guard
        .as_ref()
        .map_or((u16::MAX, 0), |guard| (guard.spec.segments, guard.spec.segment_min));
    if let Some(gso) = frame.offload.gso
        && (frame.len() > usize::from(gso.size) * usize::from(segments)
            || (gso.size < segment_min && gso.kind != GsoKind::Udp))
    {
        return Err(Reason::BadOffload);
    }
    if !port.spec.offloads_from_guest.takes(&frame.offload) {
        return Err(Reason::OffloadUndeclared);
    }
    let mtu = usize::from(network.mtu);
    match offload::check(&frame.offload, pool.front(frame).unwrap_or_default(), frame.len(), mtu) {
        Ok(()) => Ok(()),
        Err(OffloadError::SegmentTooLarge) => Err(Reason::Oversize),
        // The sum of a packet inside a tunnel is completed here and now: nobody further on looks
        // for it there.
        Err(OffloadError::InnerChecksum)
            if frame.offload.gso.is_none() && pool.complete_in_place(frame) =>
        {
            Ok(())
        }
        Err(_) => Err(Reason::BadOffload),
    }
}
