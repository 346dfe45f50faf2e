//! Instructions of classic BPF: their numbers, and their form as text.
//!
//! The numbers are those of bpf(4) (`net/bpf.h`, on Linux `linux/bpf_common.h`). `MOD` and `XOR`
//! came with Linux 3.7 and are in all of today's machines.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One instruction, as programs are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instruction {
    /// Class, mode, operation: see the constants of [this module](self).
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

// Classes: bits 0 to 2.
/// Load the accumulator.
pub const LD: u16 = 0x00;
/// Load the index register.
pub const LDX: u16 = 0x01;
/// Store the accumulator.
pub const ST: u16 = 0x02;
/// Store the index register.
pub const STX: u16 = 0x03;
/// Calculate.
pub const ALU: u16 = 0x04;
/// Jump.
pub const JMP: u16 = 0x05;
/// Return.
pub const RET: u16 = 0x06;
/// Move between the registers; Mach's keys.
pub const MISC: u16 = 0x07;
/// The bits of the class.
pub const CLASS: u16 = 0x07;

// Sizes of loads: bits 3 and 4.
/// Four bytes.
pub const W: u16 = 0x00;
/// Two bytes.
pub const H: u16 = 0x08;
/// One byte.
pub const B: u16 = 0x10;

// Modes of loads: bits 5 to 7.
/// The operand itself.
pub const IMM: u16 = 0x00;
/// The packet at the operand.
pub const ABS: u16 = 0x20;
/// The packet at the index register plus the operand.
pub const IND: u16 = 0x40;
/// The scratch memory.
pub const MEM: u16 = 0x60;
/// The length of the packet.
pub const LEN: u16 = 0x80;
/// Four times the low four bits of the packet's byte at the operand: an IPv4 header's length.
pub const MSH: u16 = 0xa0;

// Operations of ALU: bits 4 to 7.
/// Plus.
pub const ADD: u16 = 0x00;
/// Minus.
pub const SUB: u16 = 0x10;
/// Times.
pub const MUL: u16 = 0x20;
/// Divided by.
pub const DIV: u16 = 0x30;
/// Bitwise or.
pub const OR: u16 = 0x40;
/// Bitwise and.
pub const AND: u16 = 0x50;
/// Shifted left.
pub const LSH: u16 = 0x60;
/// Shifted right.
pub const RSH: u16 = 0x70;
/// Negated.
pub const NEG: u16 = 0x80;
/// The rest of a division.
pub const MOD: u16 = 0x90;
/// Bitwise exclusive or.
pub const XOR: u16 = 0xa0;

// Jumps: bits 4 to 7.
/// Always, by the operand.
pub const JA: u16 = 0x00;
/// If equal.
pub const JEQ: u16 = 0x10;
/// If greater, unsigned.
pub const JGT: u16 = 0x20;
/// If greater or equal, unsigned.
pub const JGE: u16 = 0x30;
/// If they have a bit in common.
pub const JSET: u16 = 0x40;

// Sources: bit 3 of ALU and JMP; bits 3 and 4 of RET.
/// The operand.
pub const K: u16 = 0x00;
/// The index register.
pub const X: u16 = 0x08;
/// The accumulator (of RET).
pub const A: u16 = 0x10;
/// Mach: the operand, if the scratch memory holds the keys that follow (of RET).
pub const MATCH_IMM: u16 = 0x18;

// MISC: bits 3 to 7.
/// The index register becomes the accumulator.
pub const TAX: u16 = 0x00;
/// Mach: a key of the `MATCH_IMM` before it.
pub const KEY: u16 = 0x10;
/// The accumulator becomes the index register.
pub const TXA: u16 = 0x80;

/// Words of scratch memory.
pub const MEMORY: usize = 16;

impl Instruction {
    /// An instruction that does not branch.
    #[must_use]
    pub const fn new(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    /// A comparison.
    #[must_use]
    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }
}

/// A program as `tcpdump -ddd` prints it: the number of instructions, then each as four decimal
/// numbers on a line.
pub fn decimal(instructions: &[Instruction], out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "{}", instructions.len())?;
    instructions.iter().try_for_each(|i| writeln!(out, "{} {} {} {}", i.code, i.jt, i.jf, i.k))
}

/// Why a text is not a program in decimal form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not four numbers, of 16, 8, 8 and 32 bits: \"{text}\"")]
pub struct NotDecimal {
    line: usize,
    text: String,
}

/// Reads what [`decimal`] writes. The number of instructions in the first line is not believed, but
/// must be a number.
///
/// # Errors
/// The first line that is not as it should be.
pub fn from_decimal(text: &str) -> Result<Vec<Instruction>, NotDecimal> {
    let bad = |line: usize, text: &str| NotDecimal { line: line + 1, text: text.into() };
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    match lines.next() {
        Some((at, line)) if line.trim().parse::<usize>().is_err() => return Err(bad(at, line)),
        _ => {}
    }
    lines
        .map(|(at, line)| {
            let mut fields = line.split_ascii_whitespace();
            let mut instruction = || {
                let code = fields.next()?.parse().ok()?;
                let jt = fields.next()?.parse().ok()?;
                let jf = fields.next()?.parse().ok()?;
                let k = fields.next()?.parse().ok()?;
                fields.next().is_none().then_some(Instruction { code, jt, jf, k })
            };
            instruction().ok_or_else(|| bad(at, line))
        })
        .collect()
}

/// A program as `tcpdump -d` prints it, an instruction a line.
pub fn listing(instructions: &[Instruction], out: &mut impl fmt::Write) -> fmt::Result {
    instructions
        .iter()
        .enumerate()
        .try_for_each(|(at, &instruction)| writeln!(out, "{}", Listed { at, instruction }))
}

struct Listed {
    at: usize,
    instruction: Instruction,
}

/// How an instruction's operand is written.
enum Operand {
    None,
    Decimal,
    Hexadecimal,
    X,
    Length,
    Absolute,
    Index,
    Memory,
    HeaderLength,
    Accumulator,
    Target,
}

fn spelled(code: u16) -> (&'static str, Operand) {
    use Operand as O;
    let by_source = |name, k| if code & X != 0 { (name, O::X) } else { (name, k) };
    let load = |name| match code & 0xe0 {
        ABS => (name, O::Absolute),
        _ => (name, O::Index),
    };
    match code & CLASS {
        LD => match (code & 0x18, code & 0xe0) {
            (W, IMM) => ("ld", O::Hexadecimal),
            (W, MEM) => ("ld", O::Memory),
            (W, LEN) => ("ld", O::Length),
            (W, ABS | IND) => load("ld"),
            (H, ABS | IND) => load("ldh"),
            (B, ABS | IND) => load("ldb"),
            _ => ("unimp", O::Hexadecimal),
        },
        LDX => match (code & 0x18, code & 0xe0) {
            (W, IMM) => ("ldx", O::Hexadecimal),
            (W, MEM) => ("ldx", O::Memory),
            (W, LEN) => ("ldx", O::Length),
            (B, MSH) => ("ldxb", O::HeaderLength),
            _ => ("unimp", O::Hexadecimal),
        },
        ST => ("st", O::Memory),
        STX => ("stx", O::Memory),
        ALU => match code & 0xf0 {
            ADD => by_source("add", O::Decimal),
            SUB => by_source("sub", O::Decimal),
            MUL => by_source("mul", O::Decimal),
            DIV => by_source("div", O::Decimal),
            MOD => by_source("mod", O::Decimal),
            AND => by_source("and", O::Hexadecimal),
            OR => by_source("or", O::Hexadecimal),
            XOR => by_source("xor", O::Hexadecimal),
            LSH => by_source("lsh", O::Decimal),
            RSH => by_source("rsh", O::Decimal),
            NEG => ("neg", O::None),
            _ => ("unimp", O::Hexadecimal),
        },
        JMP => match code & 0xf0 {
            JA => ("ja", O::Target),
            JEQ => by_source("jeq", O::Hexadecimal),
            JGT => by_source("jgt", O::Hexadecimal),
            JGE => by_source("jge", O::Hexadecimal),
            JSET => by_source("jset", O::Hexadecimal),
            _ => ("unimp", O::Hexadecimal),
        },
        RET => match code & 0x18 {
            K => ("ret", O::Decimal),
            A => ("ret", O::Accumulator),
            MATCH_IMM => ("retmatch", O::Decimal),
            _ => ("unimp", O::Hexadecimal),
        },
        _ => match code & 0xf8 {
            TAX => ("tax", O::None),
            TXA => ("txa", O::None),
            KEY => ("key", O::Hexadecimal),
            _ => ("unimp", O::Hexadecimal),
        },
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Instruction { code, jt, jf, k } = self.instruction;
        let (name, operand) = spelled(code);
        let next = self.at + 1;
        let operand = match operand {
            Operand::None => String::new(),
            Operand::Decimal => alloc::format!("#{k}"),
            Operand::Hexadecimal => alloc::format!("#0x{k:x}"),
            Operand::X => "x".into(),
            Operand::Length => "#pktlen".into(),
            Operand::Absolute => alloc::format!("[{k}]"),
            Operand::Index => alloc::format!("[x + {k}]"),
            Operand::Memory => alloc::format!("M[{k}]"),
            Operand::HeaderLength => alloc::format!("4*([{k}]&0xf)"),
            Operand::Accumulator => "a".into(),
            Operand::Target => alloc::format!("{}", next + k as usize),
        };
        if code & CLASS == JMP && code & 0xf0 != JA {
            let (yes, no) = (next + usize::from(jt), next + usize::from(jf));
            write!(f, "({:03}) {name:<8} {operand:<16} jt {yes}\tjf {no}", self.at)
        } else if operand.is_empty() {
            write!(f, "({:03}) {name}", self.at)
        } else {
            write!(f, "({:03}) {name:<8} {operand}", self.at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_text() {
        let arp = [
            Instruction::new(LD | H | ABS, 12),
            Instruction::jump(JMP | JEQ | K, 0x806, 0, 1),
            Instruction::new(RET | K, 262_144),
            Instruction::new(RET | K, 0),
        ];
        let mut text = String::new();
        listing(&arp, &mut text).unwrap();
        assert_eq!(
            text,
            "(000) ldh      [12]\n\
             (001) jeq      #0x806           jt 2\tjf 3\n\
             (002) ret      #262144\n\
             (003) ret      #0\n"
        );
        let mut numbers = String::new();
        decimal(&arp, &mut numbers).unwrap();
        assert_eq!(numbers, "4\n40 0 0 12\n21 0 1 2054\n6 0 0 262144\n6 0 0 0\n");
        assert_eq!(from_decimal(&numbers).unwrap(), arp);
    }

    #[test]
    fn text_that_is_no_program_is_told_by_its_line() {
        for (text, line) in
            [("x\n", 1), ("1\n40 0 0\n", 2), ("1\n\n40 0 256 1\n", 3), ("1\n1 2 3 4 5", 2)]
        {
            assert_eq!(from_decimal(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
