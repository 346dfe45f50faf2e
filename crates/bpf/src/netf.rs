//! The stack machine of Mach's packet filters (`device/net_status.h`), older than BPF.
//!
//! A filter is a list of words of 16 bits. Each has an operation (bits 10 to 15) and an argument
//! (bits 0 to 9), which says what is pushed first: nothing, zero, the literal that follows, or a
//! word of the packet, of the Ethernet header or of the stack. The operation then combines the two
//! topmost values. The stack has 32 places, and one below them that holds "true" at the beginning,
//! so that a filter without operations wants everything.
//!
//! Values on the stack are words of 32 bits: compared unsigned, shifted right as signed, as what
//! Mach's own code does in C.

use alloc::boxed::Box;

use crate::packet::Packet;

/// Most words of a filter, the header word with it (`NET_MAX_FILTER`).
pub const WORDS_MAX: usize = 512;

/// Places of the stack: `NET_FILTER_STACK_DEPTH`, and the one that holds "true".
const STACK: usize = 33;

/// Words of the device header that a filter may look at (`NET_HDW_HDR_MAX`, 64 bytes).
const HEADER_WORDS: u16 = 32;

/// Bytes of the Ethernet header.
const ETHERNET: usize = 14;

/// Bytes of Mach's `struct packet_header`, which stands before the payload: its length and type.
const PACKET_HEADER: usize = 4;

/// Operations, shifted to bits 10 to 15.
pub mod op {
    #![expect(missing_docs, reason = "the names say it")]
    pub const NOP: u16 = 0;
    pub const EQ: u16 = 1 << 10;
    pub const LT: u16 = 2 << 10;
    pub const LE: u16 = 3 << 10;
    pub const GT: u16 = 4 << 10;
    pub const GE: u16 = 5 << 10;
    pub const AND: u16 = 6 << 10;
    pub const OR: u16 = 7 << 10;
    pub const XOR: u16 = 8 << 10;
    pub const COR: u16 = 9 << 10;
    pub const CAND: u16 = 10 << 10;
    pub const CNOR: u16 = 11 << 10;
    pub const CNAND: u16 = 12 << 10;
    pub const NEQ: u16 = 13 << 10;
    pub const LSH: u16 = 14 << 10;
    pub const RSH: u16 = 15 << 10;
    pub const ADD: u16 = 16 << 10;
    pub const SUB: u16 = 17 << 10;
}

/// Arguments: bits 0 to 9.
pub mod argument {
    /// The topmost value itself, taken off.
    pub const NOPUSH: u16 = 0;
    /// The word that follows in the filter.
    pub const PUSHLIT: u16 = 1;
    /// Zero.
    pub const PUSHZERO: u16 = 2;
    /// The packet's word whose number is the topmost value, taken off.
    pub const PUSHIND: u16 = 14;
    /// The header's word whose number is the topmost value, taken off.
    pub const PUSHHDRIND: u16 = 15;
    /// The packet's word whose number is added: 0 is the packet's length, 1 its type.
    pub const PUSHWORD: u16 = 16;
    /// The device header's word whose number is added.
    pub const PUSHHDR: u16 = 960;
    /// The stack's place whose number is added, from the top.
    pub const PUSHSTK: u16 = 992;
}

/// In which order a client's machine has the two bytes of a word. Filters compare words of the
/// packet as the machine reads them, so their literals depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordOrder {
    /// i386, x86-64.
    Little,
    /// Of the network.
    Big,
}

/// Why words are no filter. Numbers count from the first word behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// See the text.
    #[error("a filter of {0} words is too long: {WORDS_MAX} are the most")]
    TooLong(usize),
    /// See the text.
    #[error("word {0} needs a literal, but the filter ends")]
    NoLiteral(usize),
    /// See the text.
    #[error("word {0} pushes onto a full stack")]
    Overflow(usize),
    /// See the text.
    #[error("word {0} takes from an empty stack, or looks below it")]
    Underflow(usize),
    /// See the text.
    #[error("word {at} has the operation {operation}, which does not exist")]
    UnknownOperation {
        /// Which word.
        at: usize,
        /// Its bits 10 to 15.
        operation: u16,
    },
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Top,
    Literal(u16),
    PacketAtTop,
    HeaderAtTop,
    Packet(u16),
    Header(u16),
    Stack(u8),
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Push,
    Combine(Combination),
    /// Ends with `verdict` if the topmost value is equal to it, or is not; else takes it off.
    End {
        equal: bool,
        verdict: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combination {
    Eq,
    Neq,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Xor,
    Lsh,
    Rsh,
    Add,
    Sub,
}

/// A valid filter, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    steps: Box<[(From, Act)]>,
    order: WordOrder,
}

impl Program {
    /// Checks the words behind the header word.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub fn new(words: &[u16], order: WordOrder) -> Result<Self, Invalid> {
        if words.len() >= WORDS_MAX {
            return Err(Invalid::TooLong(words.len() + 1));
        }
        let mut values = 1usize;
        let mut rest = words.iter().copied().enumerate();
        let mut steps = alloc::vec::Vec::with_capacity(words.len());
        while let Some((at, word)) = rest.next() {
            let (operation, argument) = (word & 0xfc00, word & 0x03ff);
            let from = match argument {
                argument::NOPUSH => From::Top,
                argument::PUSHLIT => From::Literal(rest.next().ok_or(Invalid::NoLiteral(at))?.1),
                argument::PUSHZERO => From::Literal(0),
                argument::PUSHIND => From::PacketAtTop,
                argument::PUSHHDRIND => From::HeaderAtTop,
                stack if stack >= argument::PUSHSTK => {
                    // At most 31.
                    let below = (stack - argument::PUSHSTK) as u8;
                    if usize::from(below) >= values {
                        return Err(Invalid::Underflow(at));
                    }
                    From::Stack(below)
                }
                header if header >= argument::PUSHHDR => From::Header(header - argument::PUSHHDR),
                packet if packet >= argument::PUSHWORD => From::Packet(packet - argument::PUSHWORD),
                // 3 to 13: valid in Mach, and behind the end of every packet.
                _ => From::Packet(u16::MAX),
            };
            if matches!(from, From::Top | From::PacketAtTop | From::HeaderAtTop) {
                values = values.checked_sub(1).ok_or(Invalid::Underflow(at))?;
            }
            let act = decode(at, operation)?;
            match act {
                Act::Push => values += 1,
                Act::Combine(_) if values == 0 => return Err(Invalid::Underflow(at)),
                Act::Combine(_) => {}
                Act::End { .. } => values = values.checked_sub(1).ok_or(Invalid::Underflow(at))?,
            }
            if values > STACK {
                return Err(Invalid::Overflow(at));
            }
            steps.push((from, act));
        }
        if values == 0 {
            return Err(Invalid::Underflow(words.len()));
        }
        Ok(Self { steps: steps.into(), order })
    }

    /// Whether the filter wants the frame.
    #[must_use]
    pub fn accepts<P: Packet + ?Sized>(&self, frame: &P) -> bool {
        self.run_to_end(frame).unwrap_or(false)
    }

    fn run_to_end<P: Packet + ?Sized>(&self, frame: &P) -> Option<bool> {
        let mut stack = Stack { places: [0; STACK], values: 0 };
        stack.push(1)?;
        for &(from, act) in &self.steps {
            let value = match from {
                From::Top => stack.take()?,
                From::Literal(value) => value.into(),
                From::PacketAtTop => self.packet_word(frame, stack.take()?)?.into(),
                From::HeaderAtTop => self.header_word(frame, stack.take()?)?.into(),
                From::Packet(word) => self.packet_word(frame, word.into())?.into(),
                From::Header(word) => self.header_word(frame, word.into())?.into(),
                From::Stack(below) => *stack.at(below.into())?,
            };
            match act {
                Act::Push => stack.push(value)?,
                Act::Combine(how) => {
                    let under = stack.at(0)?;
                    *under = combine(how, *under, value);
                }
                Act::End { equal, verdict } => {
                    if (stack.take()? == value) == equal {
                        return Some(verdict);
                    }
                }
            }
        }
        Some(*stack.at(0)? != 0)
    }

    /// A word of the packet as Mach delivers it: its length, its type, its payload. A last byte
    /// that is half a word is not there.
    fn packet_word<P: Packet + ?Sized>(&self, frame: &P, word: u32) -> Option<u16> {
        let payload = frame.len().checked_sub(ETHERNET)?;
        match word {
            // The length is a number of the machine: the same in either order.
            0 => u16::try_from(payload + PACKET_HEADER).ok(),
            1 => Some(self.ordered(frame.half(ETHERNET - 2)?)),
            _ => {
                let at = (word as usize).checked_mul(2)?.checked_sub(PACKET_HEADER)?;
                if at + 2 > payload {
                    return None;
                }
                Some(self.ordered(frame.half(ETHERNET + at)?))
            }
        }
    }

    /// A word of the device header: 64 bytes, of which Ethernet fills 14 and the rest is zero.
    fn header_word<P: Packet + ?Sized>(&self, frame: &P, word: u32) -> Option<u16> {
        match u16::try_from(word) {
            Ok(word) if word < HEADER_WORDS => {
                let at = usize::from(word) * 2;
                let value = if at < ETHERNET { frame.half(at)? } else { 0 };
                Some(self.ordered(value))
            }
            _ => None,
        }
    }

    fn ordered(&self, network: u16) -> u16 {
        match self.order {
            WordOrder::Big => network,
            WordOrder::Little => network.swap_bytes(),
        }
    }
}

/// The checks of [`Program::new`] keep it within its bounds; it does not rely on them.
struct Stack {
    places: [u32; STACK],
    values: usize,
}

impl Stack {
    fn push(&mut self, value: u32) -> Option<()> {
        *self.places.get_mut(self.values)? = value;
        self.values += 1;
        Some(())
    }

    fn take(&mut self) -> Option<u32> {
        self.values = self.values.checked_sub(1)?;
        self.places.get(self.values).copied()
    }

    /// The value that has `below` others above it.
    fn at(&mut self, below: usize) -> Option<&mut u32> {
        self.places.get_mut(self.values.checked_sub(below)?.checked_sub(1)?)
    }
}

fn decode(at: usize, operation: u16) -> Result<Act, Invalid> {
    use Combination as C;
    Ok(match operation {
        op::NOP => Act::Push,
        op::EQ => Act::Combine(C::Eq),
        op::NEQ => Act::Combine(C::Neq),
        op::LT => Act::Combine(C::Lt),
        op::LE => Act::Combine(C::Le),
        op::GT => Act::Combine(C::Gt),
        op::GE => Act::Combine(C::Ge),
        op::AND => Act::Combine(C::And),
        op::OR => Act::Combine(C::Or),
        op::XOR => Act::Combine(C::Xor),
        op::LSH => Act::Combine(C::Lsh),
        op::RSH => Act::Combine(C::Rsh),
        op::ADD => Act::Combine(C::Add),
        op::SUB => Act::Combine(C::Sub),
        op::COR => Act::End { equal: true, verdict: true },
        op::CAND => Act::End { equal: false, verdict: false },
        op::CNOR => Act::End { equal: true, verdict: false },
        op::CNAND => Act::End { equal: false, verdict: true },
        _ => return Err(Invalid::UnknownOperation { at, operation: operation >> 10 }),
    })
}

fn combine(how: Combination, under: u32, value: u32) -> u32 {
    match how {
        Combination::Eq => (under == value).into(),
        Combination::Neq => (under != value).into(),
        Combination::Lt => (under < value).into(),
        Combination::Le => (under <= value).into(),
        Combination::Gt => (under > value).into(),
        Combination::Ge => (under >= value).into(),
        Combination::And => under & value,
        Combination::Or => under | value,
        Combination::Xor => under ^ value,
        Combination::Lsh => under.wrapping_shl(value),
        Combination::Rsh => under.cast_signed().wrapping_shr(value).cast_unsigned(),
        Combination::Add => under.wrapping_add(value),
        Combination::Sub => under.wrapping_sub(value),
    }
}

#[cfg(test)]
mod tests;
