//! Frames that change on their way: tags, checksums, cuts, new headers. Where nobody shares the bytes
//! they change in place, else the frame gets a header piece; the body is never copied.

use core::ops::Range;

use wire::segment::Segmenter;
use wire::{HEADER_MAX, Offload, PartialChecksum, checksum};

use super::class::Class;
use super::{HEADER, HEADER_ROOM, Pool, PoolEmpty, RewriteError, body_of};
use crate::frame::Frame;

impl Pool {
    /// The bytes in which the headers of a frame are, all of them: a header piece holds the first
    /// [`HEADER_MAX`] bytes of its frame or the whole frame, unless it is one that
    /// [`Self::next_segment`] made. None for such a one.
    #[inline]
    pub(crate) fn front(&self, frame: &Frame) -> Option<&[u8]> {
        match frame.header() {
            None => Some(self.whole(frame)),
            Some(header) => self.front_piece(frame, header),
        }
    }

    #[cold]
    fn front_piece(&self, frame: &Frame, header: u32) -> Option<&[u8]> {
        let whole = frame.header_len() >= HEADER_MAX || frame.body_len() == 0;
        whole.then(|| self.piece(frame, header))
    }

    /// The first `len` bytes of a frame, to be changed: in place where nobody shares them, else in a
    /// header piece, which the frame gets if it has none. The rest of the body stays where it is and
    /// is never copied.
    ///
    /// None, and nothing changed, if the frame or [`HEADER_MAX`] is shorter than that, or no header
    /// buffer is free.
    #[inline]
    pub fn header_mut(&mut self, frame: &mut Frame, len: usize) -> Option<&mut [u8]> {
        if !frame.has_header() {
            // Not by `exclusive_mut`, which would still be borrowed in the other case.
            if self.exclusive_mut(frame.body).is_some() {
                if len > frame.body_len() {
                    return None;
                }
                let start = frame.start();
                return self.exclusive_mut(frame.body)?.get_mut(start..start + len);
            }
            self.add_header(frame)?;
        }
        let start = frame.header_start();
        let piece = self.headers.owned_mut(frame.header()?);
        piece.get_mut(start..start + frame.header_len())?.get_mut(..len)
    }

    /// Moves the front of a frame into a header piece of its own.
    #[cold]
    fn add_header(&mut self, frame: &mut Frame) -> Option<()> {
        let header = self.headers.take()?.index;
        let body = body_of(&self.small, &self.large, frame);
        let front = body.get(..HEADER_MAX).unwrap_or(body);
        let len = front.len();
        let room = self.headers.owned_mut(header).get_mut(HEADER_ROOM..HEADER_ROOM + len);
        if let Some(room) = room {
            room.copy_from_slice(front);
        }
        frame.advance(len);
        frame.set_header(header, HEADER_ROOM, len);
        Some(())
    }

    /// Makes a frame of `front`, which is a header piece of its own, and of the bytes `range` of
    /// another frame behind it, which stay shared. The new frame has no metadata.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`] if no header buffer is free, or `front` and what of `range` has to stand with it
    /// are longer than [`HEADER_MAX`].
    pub(crate) fn compose(
        &mut self,
        front: &[u8],
        frame: &Frame,
        range: Range<usize>,
    ) -> Result<Frame, PoolEmpty> {
        let header = self.headers.take().ok_or(PoolEmpty)?.index;
        let mut piece = self.share_body(frame);
        piece.set_offload(Offload::NONE);
        piece.set_header(header, HEADER_ROOM, 0);
        let mut filled = self.append(&mut piece, front);
        // What of the range is in the other frame's header piece is copied; the body is not.
        let border = frame.header_len();
        if let Some(other) = frame.header()
            && range.start < border
        {
            let mut copy = [0; HEADER_MAX];
            let from = frame.header_start();
            let part = from + range.start..from + range.end.min(border);
            let part = self.headers.owned(other).get(part).unwrap_or_default();
            let len = part.len();
            if let Some(room) = copy.get_mut(..len) {
                room.copy_from_slice(part);
            }
            filled &= self.append(&mut piece, copy.get(..len).unwrap_or_default());
        }
        piece.narrow(range.start.saturating_sub(border)..range.end.saturating_sub(border));
        // The front is as complete as everybody who reads headers expects.
        let missing = HEADER_MAX.saturating_sub(piece.header_len());
        let missing = missing.min(piece.body_len());
        let mut copy = [0; HEADER_MAX];
        if let (Some(room), Some(part)) =
            (copy.get_mut(..missing), body_of(&self.small, &self.large, &piece).get(..missing))
        {
            room.copy_from_slice(part);
        }
        filled &= self.append(&mut piece, copy.get(..missing).unwrap_or_default());
        piece.advance(missing);
        if filled {
            return Ok(piece);
        }
        self.release(piece);
        Err(PoolEmpty)
    }

    /// Adds bytes at the end of a header piece. False if there is no room.
    fn append(&mut self, frame: &mut Frame, bytes: &[u8]) -> bool {
        let Some(header) = frame.header() else { return false };
        let len = frame.header_len();
        let at = frame.header_start() + len;
        if len + bytes.len() > HEADER_MAX {
            return false;
        }
        let Some(room) = self.headers.owned_mut(header).get_mut(at..at + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        frame.set_header(header, frame.header_start(), len + bytes.len());
        true
    }

    /// Cuts a frame to its first `len` bytes.
    pub(crate) fn truncate(frame: &mut Frame, len: usize) {
        let front = frame.header_len().min(len);
        if let Some(header) = frame.header() {
            frame.set_header(header, frame.header_start(), front);
        }
        frame.narrow(0..len - front);
    }

    /// A second frame with the same content, on the same body.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`] if the frame has a header piece and no buffer is free for a copy.
    #[inline]
    pub(crate) fn share(&mut self, frame: &Frame) -> Result<Frame, PoolEmpty> {
        match frame.header() {
            None => Ok(self.share_body(frame)),
            Some(header) => self.share_with(frame, header),
        }
    }

    #[cold]
    fn share_with(&mut self, frame: &Frame, header: u32) -> Result<Frame, PoolEmpty> {
        let copy = self.headers.take().ok_or(PoolEmpty)?.index;
        let mut bytes = [0; HEADER_MAX];
        let start = frame.header_start();
        let len = frame.header_len().min(HEADER_MAX);
        if let (Some(to), Some(from)) =
            (bytes.get_mut(..len), self.headers.owned(header).get(start..start + len))
        {
            to.copy_from_slice(from);
        }
        if let Some(to) = self.headers.owned_mut(copy).get_mut(HEADER_ROOM..HEADER_ROOM + len) {
            to.copy_from_slice(bytes.get(..len).unwrap_or_default());
        }
        let mut shared = self.share_body(frame);
        shared.set_header(copy, HEADER_ROOM, len);
        Ok(shared)
    }

    /// A second frame on the same body, without the header piece.
    #[inline]
    fn share_body(&mut self, frame: &Frame) -> Frame {
        if frame.body.is_large() {
            self.large.share(frame.body);
        } else {
            self.small.share(frame.body);
        }
        frame.alias()
    }

    /// Removes four bytes behind the two addresses: the outer VLAN tag of a frame that was just read.
    /// False, and nothing done, if the frame is shorter than that or its bytes are shared.
    pub(crate) fn remove_tag(&mut self, frame: &mut Frame) -> bool {
        let start = frame.start();
        if frame.body_len() < 18 {
            return false;
        }
        let Some(bytes) = self.exclusive_mut(frame.body) else { return false };
        bytes.copy_within(start..start + 12, start + 4);
        frame.advance(4);
        frame.set_offload(frame.offload().with_tag_popped());
        true
    }

    /// Puts an 802.1Q tag behind the two addresses, in place where nobody shares the bytes, else in
    /// a header piece.
    pub(crate) fn insert_tag(&mut self, frame: &mut Frame, tci: u16) -> Result<(), PoolEmpty> {
        let [hi, lo] = tci.to_be_bytes();
        let tag = [0x81, 0x00, hi, lo];
        if let Some(header) = frame.header() {
            let start = frame.header_start();
            let bytes = self.headers.owned_mut(header);
            if start < 4 || start + 12 > bytes.len() {
                return Err(PoolEmpty);
            }
            bytes.copy_within(start..start + 12, start - 4);
            if let Some(room) = bytes.get_mut(start + 8..start + 12) {
                room.copy_from_slice(&tag);
            }
            frame.set_header(header, start - 4, frame.header_len() + 4);
        } else {
            let start = frame.start();
            if let Some(bytes) = self.exclusive_mut(frame.body)
                && start >= 4
            {
                bytes.copy_within(start..start + 12, start - 4);
                if let Some(room) = bytes.get_mut(start + 8..start + 12) {
                    room.copy_from_slice(&tag);
                }
                frame.extend_front(4);
            } else {
                let mut front = [0; 16];
                let (addresses, rest) = front.split_at_mut(12);
                addresses.copy_from_slice(self.body(frame).get(..12).ok_or(PoolEmpty)?);
                rest.copy_from_slice(&tag);
                let header = self.headers.take().ok_or(PoolEmpty)?.index;
                if let Some(room) =
                    self.headers.owned_mut(header).get_mut(HEADER_ROOM..HEADER_ROOM + 16)
                {
                    room.copy_from_slice(&front);
                }
                frame.advance(12);
                frame.set_header(header, HEADER_ROOM, 16);
            }
        }
        frame.set_offload(frame.offload().with_tag_pushed());
        Ok(())
    }

    /// Completes a partial checksum: in place where nobody shares the bytes, else in a header
    /// piece.
    pub(crate) fn complete(&mut self, frame: &mut Frame) -> Result<(), RewriteError> {
        if self.complete_in_place(frame) {
            return Ok(());
        }
        if frame.has_header() {
            return Err(RewriteError::Refused);
        }
        let header = self.headers.take().ok_or(RewriteError::PoolEmpty)?.index;
        let body = body_of(&self.small, &self.large, frame);
        let done = header_room(&mut self.headers, header)
            .and_then(|room| checksum::complete(&frame.offload(), &[body, &[]], room).ok());
        if let Some(front) = done {
            frame.advance(front);
            frame.set_header(header, HEADER_ROOM, front);
            frame.set_offload(Offload::NONE);
            Ok(())
        } else {
            self.headers.put_owned(header);
            Err(RewriteError::Refused)
        }
    }

    /// Completes a partial checksum where it is, wherever that is. False, and nothing done, if the
    /// frame's bytes are shared or the field is not in them.
    pub(crate) fn complete_in_place(&mut self, frame: &mut Frame) -> bool {
        let Some(partial) = frame.offload().checksum else { return false };
        if frame.has_header() {
            return self.complete_in_header(frame, partial);
        }
        let range = frame.start()..frame.start() + frame.body_len();
        let Some(bytes) = self.exclusive_mut(frame.body) else { return false };
        let bytes = bytes.get_mut(range).unwrap_or_default();
        let Some(covered) = bytes.get_mut(usize::from(partial.start)..) else { return false };
        let sum = !checksum::sum(covered);
        let field =
            covered.get_mut(usize::from(partial.offset)..).and_then(|f| f.first_chunk_mut());
        let Some(field) = field else { return false };
        // Zero would mean "no checksum" in UDP (RFC 768); its other form does for every protocol.
        *field = if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() };
        frame.set_offload(Offload { checksum: None, ..frame.offload() });
        true
    }

    /// The same for a frame with a header piece, which is nobody else's.
    #[cold]
    fn complete_in_header(&mut self, frame: &mut Frame, partial: PartialChecksum) -> bool {
        let sum =
            !checksum::sum_pieces(&self.pieces(frame), &(usize::from(partial.start)..frame.len()));
        let Some(header) = frame.header() else { return false };
        let start = frame.header_start();
        let piece = self.headers.owned_mut(header);
        let piece = piece.get_mut(start..start + frame.header_len());
        let field = piece
            .and_then(|piece| piece.get_mut(partial.field()..))
            .and_then(|field| field.first_chunk_mut());
        let Some(field) = field else { return false };
        *field = if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() };
        frame.set_offload(Offload { checksum: None, ..frame.offload() });
        true
    }

    /// Starts to cut a GSO frame.
    pub(crate) fn segmenter(&self, frame: &Frame) -> Result<Segmenter, RewriteError> {
        Segmenter::new(&frame.offload(), &self.pieces(frame)).map_err(|_| RewriteError::Refused)
    }

    /// The next segment of `frame`: a header piece of its own, and a range of the shared body.
    pub(crate) fn next_segment(
        &mut self,
        frame: &Frame,
        segmenter: &mut Segmenter,
    ) -> Result<Frame, RewriteError> {
        if frame.has_header() {
            return self.next_segment_behind_header(frame, segmenter);
        }
        let header = self.headers.take().ok_or(RewriteError::PoolEmpty)?.index;
        let body = body_of(&self.small, &self.large, frame);
        let segment = header_room(&mut self.headers, header)
            .and_then(|room| segmenter.next(&[body, &[]], room));
        let Some(segment) = segment else {
            self.headers.put_owned(header);
            return Err(RewriteError::Refused);
        };
        let mut piece = self.share_body(frame);
        piece.set_offload(Offload::NONE);
        piece.set_header(header, HEADER_ROOM, segment.header_len);
        piece.narrow(segment.payload);
        Ok(piece)
    }

    /// The same for a frame whose front is in a header piece, with part of the payload perhaps.
    #[cold]
    fn next_segment_behind_header(
        &mut self,
        frame: &Frame,
        segmenter: &mut Segmenter,
    ) -> Result<Frame, RewriteError> {
        let mut room = [0; HEADER_MAX];
        let segment = segmenter.next(&self.pieces(frame), &mut room);
        let segment = segment.ok_or(RewriteError::Refused)?;
        let front = room.get(..segment.header_len).unwrap_or_default();
        self.compose(front, frame, segment.payload).map_err(|PoolEmpty| RewriteError::PoolEmpty)
    }
}

fn header_room(headers: &mut Class<HEADER>, header: u32) -> Option<&mut [u8; HEADER_MAX]> {
    headers.owned_mut(header).get_mut(HEADER_ROOM..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests;
