//! The messages between the hypervisor and the helper, on one connected seqpacket socket.
//!
//! Both ends are on one machine, so integers are in the host's byte order. Every message begins with
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 1 | zero |
//! | 2 | 2 | number of records in a message of frames, else zero |
//!
//! and a message of frames goes on with that many records:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the frame |
//! | 4 | 12 | `virtio_net_hdr_v1` (see [`wire::vnet`]) |
//! | 16 | length | the frame, from its Ethernet header |
//!
//! A large frame lies in a slot of the memory that both ends map ([`crate::slots`]), and a message of
//! places tells where:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | number of the slot |
//! | 2 | 2 | bytes of the frame that lie in the slot, if its rest lies in memory that was lent |
//! | 4 | 4 | length of the frame |
//! | 8 | 12 | `virtio_net_hdr_v1` |
//! | 20 | 4 | where in the memory that was lent the rest lies; all ones: all of the frame lies in the slot |
//!
//! The hypervisor may lend memory of its own ([`sys::shared::lend`]): what is in it stays there, only the helper is told
//! where. It must not change before the slot is given back, for the hypervisor's own sake. That it will lend it says in its
//! first message; it is asked for it, if it may use the device, sends the descriptor and is welcomed then. Nobody else's
//! descriptors come to the helper.
//!
//! Both kinds have many records in a message, because a message costs the kernel as much as the bytes
//! of a small frame many times over. Nothing waits for a message to become full. A large frame may
//! come in a message of frames as well, when no slot is free.
//!
//! The hypervisor speaks first ([`Hello`]) and is, perhaps asked for memory before, answered with [`Welcome`], with which the memory's
//! descriptor comes, or with a sentence and the end. After that either end sends frames at any time; claims are answered in their order. A
//! frame behind a claim in the same direction is judged after it.

mod places;

use wire::{MacAddr, OffloadSet};

use self::places::places;
pub use self::places::{Lent, Place, Places, places_header};

/// What both ends must agree on.
pub const VERSION: u16 = 3;

/// Bytes in front of a message's body.
pub const HEADER_LEN: usize = 4;

/// Bytes in front of a frame.
pub const RECORD_LEN: usize = 4 + wire::VNET_HDR_LEN;

/// Most frames of one message.
pub const RECORDS_MAX: usize = 64;

/// The longest frame: an IP packet of 64 KiB behind Ethernet header and tag, rounded up.
pub const FRAME_MAX: usize = 65_568;

/// The longest message: one frame of [`FRAME_MAX`].
pub const MESSAGE_MAX: usize = HEADER_LEN + RECORD_LEN + FRAME_MAX;

/// Bytes of a record of a frame that lies in a slot.
pub const PLACE_LEN: usize = 8 + wire::VNET_HDR_LEN + 4;

/// A frame longer than this is large: it lies in a slot, or travels alone.
pub const ALONE: usize = 2048;

/// Where the helper listens.
pub const SOCKET: &str = "/run/netherd/nic.sock";

/// Longest sentence in a refusal, in bytes.
pub const SENTENCE_MAX: usize = 600;

/// Bytes of a device's name (`IFNAMSIZ`), the last of which is zero.
const NAME_LEN: usize = 16;

/// Most ranges of addresses in a [`Welcome`].
pub const RANGES_MAX: usize = 256;

const HELLO: u8 = 1;
const CLAIM: u8 = 2;
const RELEASE: u8 = 3;
const FRAMES: u8 = 4;
const COUNTERS: u8 = 5;
const PLACES: u8 = 6;
const MEMORY: u8 = 7;
const WELCOME: u8 = 129;
const REFUSED: u8 = 130;
const CLAIMED: u8 = 131;
const CARRIER: u8 = 132;
const LEND: u8 = 133;

/// The bytes make no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("a message of {0} bytes is too short for its kind")]
    Short(usize),
    #[error("a message of kind {0} is not known here")]
    Kind(u8),
    #[error("a message says that it has {0} frames")]
    Records(u16),
    #[error("a frame in a message is longer than the message")]
    Frame,
    #[error("a message names a place where no frame can be")]
    Place,
    #[error("a device's name in a message is not one")]
    Name,
}

/// What the hypervisor says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u16,
    pub device: String,
    /// It has memory to lend, when it is asked.
    pub lends: bool,
}

/// An inclusive range of MAC addresses, as integers below 2^48 with the first byte the most
/// significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacRange {
    pub first: u64,
    pub last: u64,
}

impl MacRange {
    #[must_use]
    pub fn contains(self, mac: MacAddr) -> bool {
        (self.first..=self.last).contains(&mac.as_u64())
    }
}

/// What the connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub version: u16,
    /// Bytes of the longest IP packet on the device.
    pub mtu: u16,
    /// What the device takes and gives with work left undone.
    pub offloads: OffloadSet,
    /// The device's own address, which is the host's.
    pub own: MacAddr,
    /// Addresses that may be claimed at a time.
    pub max_macs: u16,
    /// Addresses that may be claimed, at most [`RANGES_MAX`].
    pub ranges: Vec<MacRange>,
}

/// Why an address was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimRefusal {
    /// No station's address, or the device's own.
    NotAnAddress,
    /// Not in the list of the user.
    NotAllowed,
    /// More than the user may have at a time.
    TooMany,
    /// Another connection has it.
    Taken,
    /// Claims and releases came faster than they are served.
    TooFast,
}

impl ClaimRefusal {
    const ALL: [ClaimRefusal; 5] =
        [Self::NotAnAddress, Self::NotAllowed, Self::TooMany, Self::Taken, Self::TooFast];

    /// Its number on the wire, above zero.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }

    /// What follows "the address ...".
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotAnAddress => "is not a guest's address on this device",
            Self::NotAllowed => "is not in the list of this user in /etc/netherd/nic.toml",
            Self::TooMany => "would exceed max_macs in /etc/netherd/nic.toml",
            Self::Taken => "is in use by another network on this device",
            Self::TooFast => "was requested too soon after others",
        }
    }
}

/// A message to the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHelper<'a> {
    Hello(Hello),
    Claim(MacAddr),
    Release(MacAddr),
    Frames(Records<'a>),
    Places(Places<'a>),
    /// Asks for the counters.
    Counters,
    /// What the descriptor that came with it is.
    Memory,
}

/// A message from the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHelper<'a> {
    Welcome(Welcome),
    /// Asks for the memory that is to be lent.
    Lend,
    /// A sentence; the connection ends.
    Refused(&'a str),
    Claimed(MacAddr, Result<(), ClaimRefusal>),
    Frames(Records<'a>),
    Places(Places<'a>),
    /// Whether the device is there and up.
    Carrier(bool),
    /// The counters by number, see [`crate::reason`].
    Counters(Numbers<'a>),
}

/// The frames of one message, already known to fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    rest: &'a [u8],
    count: u16,
}

impl Records<'_> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a message of those that are left into `message`, in place of what is there.
    pub fn write_message(&self, message: &mut Vec<u8>) {
        message.clear();
        message.extend_from_slice(&frames_header(self.count));
        message.extend_from_slice(self.rest);
    }
}

/// One frame of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// A `virtio_net_hdr_v1`, believed by nobody yet.
    pub header: &'a [u8; wire::VNET_HDR_LEN],
    pub frame: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.count = self.count.checked_sub(1)?;
        let (record, rest) = split_record(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (header, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_ne_bytes(*len)).ok()?;
    let (frame, rest) = rest.split_at_checked(len)?;
    Some((Record { header, frame }, rest))
}

/// Integers of a message, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    /// Number `i`; zero when the other end does not know it.
    #[must_use]
    pub fn get(self, i: usize) -> u64 {
        let bytes = self.0.get(i * 8..).unwrap_or_default();
        bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// The header of a message of frames.
#[must_use]
pub fn frames_header(records: u16) -> [u8; HEADER_LEN] {
    let [a, b] = records.to_ne_bytes();
    [FRAMES, 0, a, b]
}

/// What stands before a frame of `len` bytes.
#[must_use]
pub fn record_header(len: u32, vnet: [u8; wire::VNET_HDR_LEN]) -> [u8; RECORD_LEN] {
    let mut header = [0; RECORD_LEN];
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[4..].copy_from_slice(&vnet);
    header
}

fn split_header(message: &[u8]) -> Result<(u8, u16, &[u8]), ProtocolError> {
    let Some((&[kind, _, a, b], body)) = message.split_first_chunk() else {
        return Err(ProtocolError::Short(message.len()));
    };
    Ok((kind, u16::from_ne_bytes([a, b]), body))
}

fn records(count: u16, body: &[u8]) -> Result<Records<'_>, ProtocolError> {
    if count == 0 || usize::from(count) > RECORDS_MAX {
        return Err(ProtocolError::Records(count));
    }
    let mut rest = body;
    for _ in 0..count {
        (_, rest) = split_record(rest).ok_or(ProtocolError::Frame)?;
    }
    if rest.is_empty() { Ok(Records { rest: body, count }) } else { Err(ProtocolError::Frame) }
}

fn mac(message: &[u8], body: &[u8]) -> Result<MacAddr, ProtocolError> {
    body.first_chunk::<6>().map(|bytes| MacAddr(*bytes)).ok_or(ProtocolError::Short(message.len()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> ToHelper<'a> {
    /// # Errors
    /// [`ProtocolError`]; whoever sent this is not to be served further.
    pub fn decode(message: &'a [u8]) -> Result<Self, ProtocolError> {
        let (kind, count, body) = split_header(message)?;
        Ok(match kind {
            HELLO => {
                let version = u16_at(body, 0).ok_or(ProtocolError::Short(message.len()))?;
                let name: &[u8; NAME_LEN] = body
                    .get(2..)
                    .and_then(|rest| rest.first_chunk())
                    .ok_or(ProtocolError::Short(message.len()))?;
                let end = name.iter().position(|byte| *byte == 0).ok_or(ProtocolError::Name)?;
                let name = std::str::from_utf8(&name[..end]).map_err(|_| ProtocolError::Name)?;
                if !sys::device::is_name(name) {
                    return Err(ProtocolError::Name);
                }
                let lends = body.get(2 + NAME_LEN).is_some_and(|byte| *byte != 0);
                ToHelper::Hello(Hello { version, device: name.to_owned(), lends })
            }
            CLAIM => ToHelper::Claim(mac(message, body)?),
            RELEASE => ToHelper::Release(mac(message, body)?),
            FRAMES => ToHelper::Frames(records(count, body)?),
            PLACES => ToHelper::Places(places(count, body)?),
            COUNTERS => ToHelper::Counters,
            MEMORY => ToHelper::Memory,
            other => return Err(ProtocolError::Kind(other)),
        })
    }
}

impl<'a> FromHelper<'a> {
    /// # Errors
    /// [`ProtocolError`]: the helper speaks another version.
    pub fn decode(message: &'a [u8]) -> Result<Self, ProtocolError> {
        let short = ProtocolError::Short(message.len());
        let (kind, count, body) = split_header(message)?;
        Ok(match kind {
            WELCOME => FromHelper::Welcome(welcome(body).ok_or(short)?),
            LEND => FromHelper::Lend,
            REFUSED => FromHelper::Refused(std::str::from_utf8(body).unwrap_or("it was refused")),
            CLAIMED => {
                let mac = mac(message, body)?;
                let result = match *body.get(6).ok_or(short)? {
                    0 => Ok(()),
                    number => {
                        Err(ClaimRefusal::from_number(number).unwrap_or(ClaimRefusal::NotAllowed))
                    }
                };
                FromHelper::Claimed(mac, result)
            }
            FRAMES => FromHelper::Frames(records(count, body)?),
            PLACES => FromHelper::Places(places(count, body)?),
            CARRIER => FromHelper::Carrier(*body.first().ok_or(short)? != 0),
            COUNTERS => FromHelper::Counters(Numbers(body)),
            other => return Err(ProtocolError::Kind(other)),
        })
    }
}

fn welcome(body: &[u8]) -> Option<Welcome> {
    let own = MacAddr(*body.get(6..)?.first_chunk()?);
    let count = usize::from(u16_at(body, 14)?).min(RANGES_MAX);
    let ranges = body.get(16..)?.chunks_exact(16).take(count).map(|pair| {
        let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| u64::from_ne_bytes(*it));
        MacRange { first: number(&pair[..8]), last: number(&pair[8..]) }
    });
    Some(Welcome {
        version: u16_at(body, 0)?,
        mtu: u16_at(body, 2)?,
        offloads: OffloadSet::from_bits_truncate(*body.get(4)?),
        own,
        max_macs: u16_at(body, 12)?,
        ranges: ranges.collect(),
    })
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(body);
    message
}

/// The first message; `lends`: memory can be lent.
///
/// # Errors
/// When `device` cannot name one.
pub fn hello(device: &str, lends: bool) -> Result<Vec<u8>, ProtocolError> {
    if !sys::device::is_name(device) {
        return Err(ProtocolError::Name);
    }
    let mut body = VERSION.to_ne_bytes().to_vec();
    body.extend_from_slice(device.as_bytes());
    body.resize(2 + NAME_LEN, 0);
    body.push(lends.into());
    Ok(message(HELLO, &body))
}

/// Asks for memory.
#[must_use]
pub fn lend() -> Vec<u8> {
    message(LEND, &[])
}

/// Goes with the descriptor of the memory.
#[must_use]
pub fn memory() -> Vec<u8> {
    message(MEMORY, &[])
}

#[must_use]
pub fn claim(mac: MacAddr) -> Vec<u8> {
    message(CLAIM, &mac.0)
}

#[must_use]
pub fn release(mac: MacAddr) -> Vec<u8> {
    message(RELEASE, &mac.0)
}

#[must_use]
pub fn ask_counters() -> Vec<u8> {
    message(COUNTERS, &[])
}

impl Welcome {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.version.to_ne_bytes().to_vec();
        body.extend_from_slice(&self.mtu.to_ne_bytes());
        body.extend_from_slice(&[self.offloads.bits(), 0]);
        body.extend_from_slice(&self.own.0);
        body.extend_from_slice(&self.max_macs.to_ne_bytes());
        let count = self.ranges.len().min(RANGES_MAX);
        // At most RANGES_MAX.
        body.extend_from_slice(&(count as u16).to_ne_bytes());
        for range in &self.ranges[..count] {
            body.extend_from_slice(&range.first.to_ne_bytes());
            body.extend_from_slice(&range.last.to_ne_bytes());
        }
        message(WELCOME, &body)
    }
}

#[must_use]
pub fn refused(sentence: &str) -> Vec<u8> {
    let mut end = sentence.len().min(SENTENCE_MAX);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    message(REFUSED, &sentence.as_bytes()[..end])
}

#[must_use]
pub fn claimed(mac: MacAddr, result: Result<(), ClaimRefusal>) -> Vec<u8> {
    let mut body = mac.0.to_vec();
    body.push(result.err().map_or(0, ClaimRefusal::number));
    message(CLAIMED, &body)
}

#[must_use]
pub fn carrier(up: bool) -> Vec<u8> {
    message(CARRIER, &[u8::from(up)])
}

#[must_use]
pub fn counters(numbers: &[u64]) -> Vec<u8> {
    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    message(COUNTERS, &body)
}

#[cfg(test)]
mod tests;
