//! Messages that tell where frames lie.

use super::{ALONE, FRAME_MAX, HEADER_LEN, PLACE_LEN, PLACES, ProtocolError, RECORDS_MAX};
use crate::slots::SLOTS;

/// What is said in place of a place in memory that was lent.
const NOT_LENT: u32 = u32::MAX;

/// Where the frames of one message lie; each is known to be possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places<'a>(&'a [[u8; PLACE_LEN]]);

/// Where one frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below [`SLOTS`].
    pub slot: u16,
    /// At most [`FRAME_MAX`].
    pub len: usize,
    /// A `virtio_net_hdr_v1`, believed by nobody yet.
    pub header: [u8; wire::VNET_HDR_LEN],
    /// Where its rest lies, if not in the slot as well.
    pub lent: Option<Lent>,
}

/// The rest of a frame in memory that the hypervisor has lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent {
    /// Bytes of the frame before it, which lie in the slot: at most [`ALONE`], and less than the frame has.
    pub front: usize,
    /// Where in that memory it begins. Whether it lies in it is not known yet.
    pub at: usize,
}

impl Place {
    fn read(record: &[u8; PLACE_LEN]) -> Option<Place> {
        let [s, t, e, f, a, b, c, d, header @ .., p, q, r, u] = *record;
        let (slot, len) = (u16::from_ne_bytes([s, t]), u32::from_ne_bytes([a, b, c, d]));
        let (front, at) = (u16::from_ne_bytes([e, f]), u32::from_ne_bytes([p, q, r, u]));
        let len = usize::try_from(len).ok().filter(|len| *len <= FRAME_MAX)?;
        let front = usize::from(front);
        let lent = match at {
            NOT_LENT if front == 0 => None,
            NOT_LENT => return None,
            at if front <= ALONE && front < len => {
                Some(Lent { front, at: usize::try_from(at).ok()? })
            }
            _ => return None,
        };
        (slot < SLOTS).then_some(Place { slot, len, header, lent })
    }

    #[must_use]
    pub fn encode(&self) -> [u8; PLACE_LEN] {
        let mut record = [0; PLACE_LEN];
        record[..2].copy_from_slice(&self.slot.to_ne_bytes());
        // At most FRAME_MAX.
        record[4..8].copy_from_slice(&(self.len as u32).to_ne_bytes());
        record[8..20].copy_from_slice(&self.header);
        let mut at = NOT_LENT;
        if let Some(lent) = self.lent {
            // A front is at most ALONE, and what is lent at most LENT_MAX.
            record[2..4].copy_from_slice(&(lent.front as u16).to_ne_bytes());
            at = lent.at as u32;
        }
        record[20..].copy_from_slice(&at.to_ne_bytes());
        record
    }
}

impl Iterator for Places<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Place::read(first)
    }
}

impl Places<'_> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a message of those that are left into `message`, in place of what is there.
    pub fn write_message(&self, message: &mut Vec<u8>) {
        message.clear();
        // At most RECORDS_MAX.
        message.extend_from_slice(&places_header(self.0.len() as u16));
        message.extend_from_slice(self.0.as_flattened());
    }
}

/// The header of a message of places.
#[must_use]
pub fn places_header(records: u16) -> [u8; HEADER_LEN] {
    let [a, b] = records.to_ne_bytes();
    [PLACES, 0, a, b]
}

pub(super) fn places(count: u16, body: &[u8]) -> Result<Places<'_>, ProtocolError> {
    if count == 0 || usize::from(count) > RECORDS_MAX {
        return Err(ProtocolError::Records(count));
    }
    let (records, rest) = body.as_chunks();
    if !rest.is_empty() || records.len() != usize::from(count) {
        return Err(ProtocolError::Records(count));
    }
    if records.iter().any(|record| Place::read(record).is_none()) {
        return Err(ProtocolError::Place);
    }
    Ok(Places(records))
}
