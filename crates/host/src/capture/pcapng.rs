//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as far as a capture needs them.
//!
//! All integers are little endian; the section header's byte-order magic says so. Every function returns one whole
//! block: type, total length, body with options padded to 32 bits, total length again.

/// LINKTYPE_ETHERNET.
const LINK_ETHERNET: u16 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_MACADDR: u16 = 6;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_VERDICT: u16 = 7;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Longest text of an option, in bytes; longer ones are cut at a character.
const TEXT_MAX: usize = 1024;

/// One block under construction.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self(Vec::with_capacity(64));
        block.u32(kind);
        block.u32(0);
        block
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// 64-bit timestamps are two words, the upper one first.
    fn timestamp(&mut self, nanos: u64) {
        self.u32((nanos >> 32) as u32);
        self.u32(nanos as u32);
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn text(&mut self, code: u16, text: &str) {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.option(code, &text.as_bytes()[..end]);
    }

    fn finish(mut self) -> Vec<u8> {
        self.u16(OPT_END);
        self.u16(0);
        let total = u32::try_from(self.0.len() + 4).unwrap_or(u32::MAX);
        self.0[4..8].copy_from_slice(&total.to_le_bytes());
        self.u32(total);
        self.0
    }
}

/// Section Header Block: begins a file. The section's length is not known (-1).
#[must_use]
pub fn section_header(program: &str, comment: &str) -> Vec<u8> {
    let mut block = Block::new(SECTION_HEADER);
    block.u32(BYTE_ORDER_MAGIC);
    block.u16(1);
    block.u16(0);
    block.0.extend_from_slice(&(-1_i64).to_le_bytes());
    block.text(SHB_USERAPPL, program);
    block.text(OPT_COMMENT, comment);
    block.finish()
}

/// Interface Description Block: interfaces are numbered in the order of these blocks, from 0. Timestamps count
/// nanoseconds.
#[must_use]
pub fn interface(name: &str, about: &str, mac: Option<[u8; 6]>, snaplen: u32) -> Vec<u8> {
    let mut block = Block::new(INTERFACE_DESCRIPTION);
    block.u16(LINK_ETHERNET);
    block.u16(0);
    block.u32(snaplen);
    block.text(IF_NAME, name);
    block.text(IF_DESCRIPTION, about);
    if let Some(mac) = mac {
        block.option(IF_MACADDR, &mac);
    }
    block.option(IF_TSRESOL, &[9]);
    block.finish()
}

/// How a frame was addressed (`epb_flags`, bits 2 to 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reception {
    Unicast = 1,
    Multicast = 2,
    Broadcast = 3,
}

/// One frame.
#[derive(Debug)]
pub struct Packet<'a> {
    /// Number of the interface that it came in at.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// Those that were kept.
    pub bytes: &'a [u8],
    pub reception: Reception,
    /// Frames lost before this one.
    pub lost: u64,
    /// The verdict in words.
    pub comment: &'a str,
    /// The verdict for programs: 0 forwarded, 1 flooded, 2 dropped, and the number of the reason.
    pub verdict: [u8; 2],
}

/// Enhanced Packet Block. Every frame is inbound: it is shown where it came in.
#[must_use]
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut block = Block::new(ENHANCED_PACKET);
    block.u32(packet.interface);
    block.timestamp(packet.time);
    block.u32(u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX));
    block.u32(packet.len);
    block.0.extend_from_slice(packet.bytes);
    block.pad();
    const INBOUND: u32 = 1;
    block.option(EPB_FLAGS, &(INBOUND | (packet.reception as u32) << 2).to_le_bytes());
    if packet.lost > 0 {
        block.option(EPB_DROPCOUNT, &packet.lost.to_le_bytes());
    }
    // Verdict type 0 is "hardware", whose data is the maker's own; we are what the frame's hardware is here.
    let [kind, reason] = packet.verdict;
    block.option(EPB_VERDICT, &[0, kind, reason]);
    block.text(OPT_COMMENT, packet.comment);
    block.finish()
}

/// Interface Statistics Block.
#[must_use]
pub fn statistics(interface: u32, time: u64, received: u64, lost: u64) -> Vec<u8> {
    let mut block = Block::new(INTERFACE_STATISTICS);
    block.u32(interface);
    block.timestamp(time);
    block.option(ISB_IFRECV, &received.to_le_bytes());
    block.option(ISB_IFDROP, &lost.to_le_bytes());
    block.finish()
}
