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
use crate::guard::{Packed, PortGuard, passes};
use crate::keyed::{Key, Place};
use crate::plan::{Mode, NetworkSpec};
use crate::pool::Pool;
use crate::port::Port;
use crate::reason::Reason;
use crate::role::Role;
use crate::vlan::VlanMode;

const ETHERNET: usize = wire::ethernet::HEADER_LEN;
const TAG: usize = wire::vlan::TAG_LEN;

/// 01:80:c2:00:00:00, the first of sixteen addresses that never leave a link (IEEE 802.1Q table
/// 8-1).
const RESERVED_GROUP: u64 = 0x0180_c200_0000;

const BROADCAST: u64 = 0xffff_ffff_ffff;
const GROUP_BIT: u64 = 1 << 40;

/// No VLAN, as a lane.
const NO_LANE: u16 = u16::MAX;

/// What the passes tell each other about one frame. Every pass writes its part for every frame, so
/// nothing is left over from the batch before. One line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Work {
    pub(crate) src: Key,
    pub(crate) dst: Key,
    /// Where the look-up of the source in the table of learned addresses begins.
    pub(crate) src_home: Place,
    /// Where that of the destination does, and in that of bound addresses.
    pub(crate) dst_home: Place,
    pub(crate) bound_home: Place,
    /// The port behind which the destination was found at the first try, or [`NO_PORT`](crate::port::NO_PORT).
    pub(crate) to: u16,
    /// The VLAN of a frame that any access port in it may send, if it is to go to one port; else one
    /// that no port is in.
    pub(crate) lane: u16,
    /// The tag that was taken off.
    pub(crate) removed_tag: Option<u16>,
    pub(crate) refused: Option<Reason>,
    /// The guard has to look at it more closely.
    pub(crate) judge: bool,
    /// The source was found at the first try to be the port's, and the guard need not look.
    pub(crate) plain: bool,
    /// The packet's destination, if the guard looked for it.
    pub(crate) destination: Packed,
}

/// What the first pass reads besides the frames.
struct Setting<'a> {
    network: &'a NetworkSpec,
    port: &'a Port,
    guard: Option<&'a PortGuard>,
    hub: bool,
    /// The VLAN of an access port, as a key without an address, and as a lane.
    vlan: Key,
    lane: u16,
    /// The longest untagged frame.
    longest: usize,
    /// The broadcast address of the network's own IPv4 addresses.
    subnet: u32,
}

/// Frames of one batch that were read, counted by whom they are for.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) bytes: u64,
    pub(crate) multicast: u64,
    pub(crate) broadcast: u64,
}

impl Engine {
    /// The first pass.
    // Each pass is a function of its own, so that its loop has the registers for itself.
    #[inline(never)]
    pub(crate) fn classify(
        &self,
        pool: &mut Pool,
        port: &Port,
        guard: Option<&PortGuard>,
        frames: &mut [Frame],
        work: &mut [Work],
    ) -> Heard {
        let Self { network, macs, .. } = self;
        let hub = network.mode == Mode::Hub;
        let setting = Setting {
            network,
            port,
            guard,
            hub,
            vlan: Key::new(port.access, 0),
            lane: if hub { NO_LANE } else { port.access },
            longest: usize::from(network.mtu) + ETHERNET,
            subnet: network.guard.subnet.map_or(u32::MAX, |net| net.broadcast().into()),
        };
        let (learned, bound) = (macs.learned(), macs.bound());
        let has_bound = macs.has_bound();
        let mut heard = Heard::default();
        for (frame, work) in frames.iter_mut().zip(work) {
            heard.bytes += frame.len() as u64;
            frame.origin = port.id.index;
            work.removed_tag = None;
            match read_headers(&setting, pool, frame, work, &mut heard) {
                Ok(()) => {
                    work.src_home = learned.home(work.src);
                    work.dst_home = learned.home(work.dst);
                    if has_bound {
                        work.bound_home = bound.home(work.dst.anywhere());
                    }
                }
                Err(reason) => work.refuse(reason),
            }
        }
        heard
    }
}

impl Work {
    /// The frame goes no further.
    #[cold]
    fn refuse(&mut self, reason: Reason) {
        let removed_tag = self.removed_tag;
        *self = Self { removed_tag, refused: Some(reason), ..Self::default() };
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
    heard: &mut Heard,
) -> Result<(), Reason> {
    let &Setting { network, port, guard, hub, mut vlan, mut lane, longest, subnet } = setting;
    frame.forget_findings();
    let Some(mut bytes) = pool.front(frame) else { return Err(Reason::BadFraming) };
    let Some(head) = bytes.first_chunk::<ETHERNET>() else { return Err(Reason::Runt) };
    // Eight bytes with an address in them are one load; six would be several.
    let (Some(front), Some(back)) = (head.first_chunk(), head.last_chunk()) else {
        return Err(Reason::Runt);
    };
    let (front, back) = (u64::from_be_bytes(*front), u64::from_be_bytes(*back));
    let (dst, src, ethertype) = (front >> 16, back >> 16, back as u16);
    frame.tci = port.access;
    let to_group = dst & GROUP_BIT != 0;
    let mut reserved = false;
    if to_group {
        heard.group(frame, dst);
        lane = NO_LANE;
        reserved = dst & !0xf == RESERVED_GROUP && !hub && !decides(guard);
    }
    if is_tag(ethertype) || port.access == 0 {
        take_tag(pool, port, ethertype, frame, work)?;
        bytes = pool.front(frame).unwrap_or_default();
        vlan = Key::new(frame.tci & 0xfff, 0);
        let lost = to_group || hub || frame.has_inner_tag();
        lane = if lost { NO_LANE } else { vlan.vid() };
    }
    work.src = vlan.with(src);
    work.dst = vlan.with(dst);
    work.lane = lane;
    if frame.has_offload() {
        check_offload(pool, network, port, guard, frame)?;
        bytes = pool.front(frame).unwrap_or_default();
    }
    if frame.len() > longest && is_oversize(frame, longest) {
        return Err(Reason::Oversize);
    }
    if src == 0 || src & GROUP_BIT != 0 {
        return Err(Reason::BadSource);
    }
    if reserved {
        return Err(Reason::ReservedGroup);
    }
    work.refused = None;
    work.plain = false;
    work.judge = false;
    work.destination = Packed::default();
    if let Some(guard) = guard {
        let sources = (guard.role != Role::Router).then_some((&guard.cache, work.src));
        match passes(sources, bytes, frame.len(), to_group, subnet) {
            Some(destination) => work.destination = destination,
            None => work.judge = true,
        }
    }
    Ok(())
}

/// Whether the port's guard decides about the groups of bridges (checks 4 and 5), by their actions.
#[cold]
fn decides(guard: Option<&PortGuard>) -> bool {
    guard.is_some_and(|guard| guard.role == Role::Guest)
}

/// Whether a frame that is longer than an untagged one may be is too long.
#[cold]
fn is_oversize(frame: &Frame, longest: usize) -> bool {
    let longest = if frame.has_inner_tag() { longest + TAG } else { longest };
    // With segmentation, the longest segment was held against the MTU above.
    frame.len() > longest && !frame.has_gso()
}

impl Heard {
    /// Counts a frame for many, and takes note on it which kind it is.
    #[cold]
    fn group(&mut self, frame: &mut Frame, dst: u64) {
        if dst == BROADCAST {
            self.broadcast += 1;
            frame.set_cast(Cast::Broadcast);
        } else {
            self.multicast += 1;
            frame.set_cast(Cast::Multicast);
        }
    }
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
    frame.set_inner_tag(inner_tag);
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
    guard: Option<&PortGuard>,
    frame: &mut Frame,
) -> Result<(), Reason> {
    let (segments, segment_min) =
        guard.map_or((u16::MAX, 0), |guard| (guard.spec.segments, guard.spec.segment_min));
    let offload = frame.offload();
    if let Some(gso) = offload.gso
        && (frame.len() > usize::from(gso.size) * usize::from(segments)
            || (gso.size < segment_min && gso.kind != GsoKind::Udp))
    {
        return Err(Reason::BadOffload);
    }
    if !port.spec.offloads_from_guest.takes(&offload) {
        return Err(Reason::OffloadUndeclared);
    }
    let mtu = usize::from(network.mtu);
    match offload::check(&offload, pool.front(frame).unwrap_or_default(), frame.len(), mtu) {
        Ok(()) => Ok(()),
        Err(OffloadError::SegmentTooLarge) => Err(Reason::Oversize),
        // The sum of a packet inside a tunnel is completed here and now: nobody further on looks
        // for it there.
        Err(OffloadError::InnerChecksum)
            if offload.gso.is_none() && pool.complete_in_place(frame) =>
        {
            Ok(())
        }
        Err(_) => Err(Reason::BadOffload),
    }
}
