//! The machine: two registers, sixteen words of memory, and a packet that is only read.

use crate::instruction::MEMORY;
use crate::packet::Packet;
use crate::program::{Calculation, Comparison, Op, Program};

impl Program {
    /// Runs the program on a packet, and gives how many bytes of it are wanted: 0 refuses it, and a
    /// number larger than the packet means all of it.
    ///
    /// Registers and memory begin as zero. A load behind the packet's end and a division by zero
    /// refuse the packet; offsets count modulo 2^32 and shifts by a register modulo 32, as in Linux.
    #[must_use]
    pub fn run<P: Packet + ?Sized>(&self, packet: &P) -> u32 {
        self.run_to_end(packet).unwrap_or(0)
    }

    /// Whether the program wants the packet.
    #[must_use]
    #[inline]
    pub fn accepts<P: Packet + ?Sized>(&self, packet: &P) -> bool {
        self.run(packet) != 0
    }

    #[inline]
    fn run_to_end<P: Packet + ?Sized>(&self, packet: &P) -> Option<u32> {
        let mut a = 0u32;
        let mut x = 0u32;
        let mut memory = [0u32; MEMORY];
        let mut ops = &*self.ops;
        // Ends: jumps only go forward, and lead to an operation; the last one returns.
        loop {
            let (op, behind) = ops.split_first()?;
            ops = behind;
            match *op {
                Op::TestWord { at, base, span, yes, no } => {
                    a = packet.word(at.into())?;
                    ops = branch(ops.get(1..)?, a.wrapping_sub(base) <= span, yes, no)?;
                }
                Op::TestHalf { at, base, span, yes, no } => {
                    a = packet.half(at.into())?.into();
                    ops = branch(ops.get(1..)?, a.wrapping_sub(base) <= span, yes, no)?;
                }
                Op::TestByte { at, base, span, yes, no } => {
                    a = packet.byte(at.into())?.into();
                    ops = branch(ops.get(1..)?, a.wrapping_sub(base) <= span, yes, no)?;
                }
                Op::Within { base, span, yes, no } => {
                    ops = branch(ops, a.wrapping_sub(base) <= span, yes, no)?;
                }
                Op::CommonBit { k, yes, no } => ops = branch(ops, a & k != 0, yes, no)?,
                Op::LoadWord(at) => a = packet.word(at as usize)?,
                Op::LoadHalf(at) => a = packet.half(at as usize)?.into(),
                Op::LoadByte(at) => a = packet.byte(at as usize)?.into(),
                Op::LoadWordAtX(k) => a = packet.word(x.wrapping_add(k) as usize)?,
                Op::LoadHalfAtX(k) => a = packet.half(x.wrapping_add(k) as usize)?.into(),
                Op::LoadByteAtX(k) => a = packet.byte(x.wrapping_add(k) as usize)?.into(),
                Op::LoadImmediate(k) => a = k,
                Op::LoadLength => a = length(packet),
                Op::LoadMemory(word) => a = *memory.get(usize::from(word))?,
                Op::IndexImmediate(k) => x = k,
                Op::IndexLength => x = length(packet),
                Op::IndexMemory(word) => x = *memory.get(usize::from(word))?,
                Op::IndexHeaderLength(at) => {
                    x = u32::from(packet.byte(at as usize)? & 0x0f) << 2;
                }
                Op::Store(word) => *memory.get_mut(usize::from(word))? = a,
                Op::StoreIndex(word) => *memory.get_mut(usize::from(word))? = x,
                Op::Calculate(how, k) => a = calculate(how, a, k)?,
                Op::CalculateX(how) => a = calculate(how, a, x)?,
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(count) => ops = ops.get(count as usize..)?,
                Op::BranchX { ask, yes, no } => ops = branch(ops, holds(ask, a, x), yes, no)?,
                Op::ToIndex => x = a,
                Op::ToAccumulator => a = x,
                Op::Return(k) => return Some(k),
                Op::ReturnAccumulator => return Some(a),
                Op::Match { keys, k } => {
                    let keys = ops.iter().take(usize::from(keys));
                    let same = keys.zip(&memory).all(|(key, word)| *key == Op::Key(*word));
                    return Some(if same { k } else { 0 });
                }
                // Never reached: nothing leads to a key.
                Op::Key(_) => return None,
            }
        }
    }
}

/// Where a comparison leads: over as many operations as it says.
///
/// Each way on its own, and none of them a calculation: a processor guesses a jump and goes on with the
/// next operation at once, where it would wait for the packet's bytes, the comparison and the distance
/// if the place of the next operation were calculated from them.
#[inline(always)]
fn branch(behind: &[Op], holds: bool, yes: u8, no: u8) -> Option<&[Op]> {
    if holds {
        if yes == 0 { Some(behind) } else { behind.get(usize::from(yes)..) }
    } else if no == 0 {
        Some(behind)
    } else {
        behind.get(usize::from(no)..)
    }
}

#[inline]
fn length<P: Packet + ?Sized>(packet: &P) -> u32 {
    u32::try_from(packet.len()).unwrap_or(u32::MAX)
}

#[inline]
fn calculate(how: Calculation, a: u32, b: u32) -> Option<u32> {
    Some(match how {
        Calculation::Add => a.wrapping_add(b),
        Calculation::Sub => a.wrapping_sub(b),
        Calculation::Mul => a.wrapping_mul(b),
        Calculation::Div => a.checked_div(b)?,
        Calculation::Mod => a.checked_rem(b)?,
        Calculation::Or => a | b,
        Calculation::And => a & b,
        Calculation::Xor => a ^ b,
        Calculation::Lsh => a.wrapping_shl(b),
        Calculation::Rsh => a.wrapping_shr(b),
    })
}

#[inline]
fn holds(ask: Comparison, a: u32, b: u32) -> bool {
    match ask {
        Comparison::Equal => a == b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
        Comparison::CommonBit => a & b != 0,
    }
}
