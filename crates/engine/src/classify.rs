//! The first pass of ingress: what a frame is, and whether it may be one.
//!
//! Reads the Ethernet header and the tag of every frame of a batch, takes the tag off, holds offload
//! metadata against the bytes, refuses what is malformed, and hashes the addresses for the next
//! pass. Nothing is learned here: whose address it is comes later.

use wire::ethernet::ethertype;
use wire::vlan::is_tag;
use wire::{OffloadError, OffloadSet, offload};

use crate::engine::Engine;
use crate::frame::{Cast, Frame};
use crate::guard::{Packed, Reach, Role, passes};
use crate::keyed::{Key, NOWHERE, Place};
use crate::mac_table::MacTable;
use crate::plan::NetworkSpec;
use crate::pool::Pool;
use crate::port::{Hints, Port, PortId};
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
    pub(crate) src_hash: u32,
    pub(crate) dst_hash: u32,
    pub(crate) src_place: Place,
    pub(crate) dst_place: Place,
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
        let subnet = network.guard.subnet.map_or(u32::MAX, |net| net.broadcast().into());
        let (mut bytes, mut multicast, mut broadcast) = (0, 0, 0);
        for (frame, work) in frames.iter_mut().zip(work) {
            bytes += frame.len() as u64;
            frame.origin = port.id.index;
            *work = Work { src_place: NOWHERE, dst_place: NOWHERE, ..Work::default() };
            work.refused = read_headers(pool, network, port, hub, frame, work).err();
            if let Some(guard) = &port.guard
                && work.refused.is_none()
            {
                let sources = (guard.role != Role::Router).then_some((&guard.cache, work.src));
                let bytes = pool.front(frame).unwrap_or_default();
                match passes(sources, bytes, frame.len(), frame.cast, subnet) {
                    Some(destination) => work.destination = destination,
                    None => work.judge = true,
                }
            }
            multicast += u64::from(frame.cast == Cast::Multicast);
            broadcast += u64::from(frame.cast == Cast::Broadcast);
            if work.refused.is_none() && !hub {
                hash_addresses(macs, port, frame.cast, work);
            }
        }
        port.counters.rx_frames += frames.len() as u64;
        port.counters.rx_bytes += bytes;
        port.counters.rx_multicast += multicast;
        port.counters.rx_broadcast += broadcast;
        port.counters.rx_unicast += frames.len() as u64 - multicast - broadcast;
    }
}

/// Reads the addresses and the tag, takes the tag off, and refuses what is malformed.
#[inline]
fn read_headers(
    pool: &mut Pool,
    network: &NetworkSpec,
    port: &Port,
    hub: bool,
    frame: &mut Frame,
    work: &mut Work,
) -> Result<(), Reason> {
    let Some(body) = pool.front(frame) else { return Err(Reason::BadFraming) };
    let Some(head) = body.first_chunk::<ETHERNET>() else { return Err(Reason::Runt) };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *head;
    let dst = u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]);
    let src = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
    let ethertype = u16::from_be_bytes([t0, t1]);
    frame.cast = match dst {
        BROADCAST => Cast::Broadcast,
        _ if dst & GROUP_BIT != 0 => Cast::Multicast,
        _ => Cast::Unicast,
    };
    if is_tag(ethertype) || port.access == 0 {
        let (tci, removed, inner_tag) = read_tag(body, ethertype, &port.spec.vlan)?;
        if removed.is_some() && !pool.remove_tag(frame) {
            return Err(Reason::BadFraming);
        }
        frame.tci = tci;
        frame.inner_tag = inner_tag;
        work.removed_tag = removed;
    } else {
        frame.tci = port.access;
        frame.inner_tag = false;
    }
    let vid = frame.tci & 0xfff;
    work.src = Key::new(vid, src);
    work.dst = Key::new(vid, dst);
    if !frame.offload.is_none() {
        let segments = port.guard.as_ref().map_or(u16::MAX, |guard| guard.spec.segments);
        check_offload(pool, network, port.spec.offloads_from_guest, segments, frame)?;
    }
    // With segmentation, the longest segment was held against the MTU above.
    let longest = usize::from(network.mtu) + ETHERNET + if frame.inner_tag { TAG } else { 0 };
    if frame.offload.gso.is_none() && frame.len() > longest {
        return Err(Reason::Oversize);
    }
    if src == 0 || src & GROUP_BIT != 0 {
        return Err(Reason::BadSource);
    }
    if dst & !0xf == RESERVED_GROUP && !hub {
        return Err(Reason::ReservedGroup);
    }
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

/// Holds offload metadata against the port's link and against the frame.
#[cold]
fn check_offload(
    pool: &mut Pool,
    network: &NetworkSpec,
    declared: OffloadSet,
    segments: u16,
    frame: &mut Frame,
) -> Result<(), Reason> {
    if let Some(gso) = frame.offload.gso
        && frame.len() > usize::from(gso.size) * usize::from(segments)
    {
        return Err(Reason::BadOffload);
    }
    if !declared.takes(&frame.offload) {
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

/// Hashes the addresses, unless the port's last frame had the same.
#[inline]
fn hash_addresses(macs: &MacTable, port: &Port, cast: Cast, work: &mut Work) {
    let Hints { own, source, learned, bound: _ } = port.hints;
    if own != Some(work.src.mac()) {
        if source.0 == work.src {
            work.src_place = source.1;
        } else {
            work.src_hash = macs.learned().hash(work.src);
        }
    }
    if cast == Cast::Unicast {
        if learned.0 == work.dst {
            work.dst_place = learned.1;
        } else if macs.has_learned() {
            work.dst_hash = macs.learned().hash(work.dst);
        }
    }
}
