//! Programs that may be run: validated, and decoded.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::instruction::*;

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const PROGRAM_MAX: usize = 4096;

/// Most keys of a `MATCH_IMM` (Mach's `N_NET_HASH_KEYS`).
pub(crate) const KEYS_MAX: usize = 4;

/// Why instructions are no program. Numbers of instructions count from 0, as in listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// See the text.
    #[error("a program has at least one instruction")]
    Empty,
    /// See the text.
    #[error("a program of {0} instructions is too long: {PROGRAM_MAX} are the most")]
    TooLong(usize),
    /// See the text.
    #[error("instruction {at} has the code {code:#06x}, which does not exist")]
    UnknownCode {
        /// Which instruction.
        at: usize,
        /// What it says.
        code: u16,
    },
    /// See the text.
    #[error("instruction {0} jumps beyond the end of the program")]
    JumpTooFar(usize),
    /// See the text.
    #[error("instruction {at} uses word {word} of the scratch memory, which has {MEMORY}")]
    NoSuchWord {
        /// Which instruction.
        at: usize,
        /// The word.
        word: u32,
    },
    /// See the text.
    #[error("instruction {0} divides by zero")]
    DivisionByZero(usize),
    /// See the text.
    #[error("instruction {0} shifts a word of 32 bits by 32 or more")]
    ShiftTooFar(usize),
    /// See the text.
    #[error("the last instruction is not a return")]
    NoReturn,
    /// See the text.
    #[error(
        "instruction {0} compares with keys, but is not followed by as many as it says (1 to {KEYS_MAX})"
    )]
    BadKeys(usize),
}

/// How a value is calculated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calculation {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
}

/// What a jump asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    CommonBit,
}

/// A decoded instruction: what the machine runs. Sixteen bytes, so a filter of 20 fits five lines of
/// the cache.
///
/// A comparison with the operand is an interval: it holds where `a - base <= span` does, modulo 2^32.
/// That is one form for all three of them, without a choice between them while it runs. And most of a
/// filter is loads from fixed places, each with a comparison behind it: the `Test`s are both in one
/// step. A test stands in the place of its load; the comparison stays behind it, for jumps that lead
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    TestWord {
        at: u16,
        base: u32,
        span: u32,
        yes: u8,
        no: u8,
    },
    TestHalf {
        at: u16,
        base: u32,
        span: u32,
        yes: u8,
        no: u8,
    },
    TestByte {
        at: u16,
        base: u32,
        span: u32,
        yes: u8,
        no: u8,
    },
    Within {
        base: u32,
        span: u32,
        yes: u8,
        no: u8,
    },
    CommonBit {
        k: u32,
        yes: u8,
        no: u8,
    },
    LoadWord(u32),
    LoadHalf(u32),
    LoadByte(u32),
    LoadWordAtX(u32),
    LoadHalfAtX(u32),
    LoadByteAtX(u32),
    LoadImmediate(u32),
    LoadLength,
    LoadMemory(u8),
    IndexImmediate(u32),
    IndexLength,
    IndexMemory(u8),
    IndexHeaderLength(u32),
    Store(u8),
    StoreIndex(u8),
    Calculate(Calculation, u32),
    CalculateX(Calculation),
    Negate,
    Jump(u32),
    BranchX {
        ask: Comparison,
        yes: u8,
        no: u8,
    },
    ToIndex,
    ToAccumulator,
    Return(u32),
    ReturnAccumulator,
    /// Returns `k` if the memory holds the keys, which are the next `keys` operations.
    Match {
        keys: u8,
        k: u32,
    },
    /// Only read by the `Match` before it.
    Key(u32),
}

/// A valid program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) ops: Box<[Op]>,
    instructions: Box<[Instruction]>,
    /// The expression it was compiled from.
    source: Option<Box<str>>,
}

/// Which instructions a program may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those of bpf(4).
    Classic,
    /// Those and Mach's comparison with keys.
    Mach,
}

impl Program {
    /// Checks a program of bpf(4).
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(instructions: &[Instruction]) -> Result<Self, Invalid> {
        Self::of(Dialect::Classic, instructions)
    }

    /// Checks a program.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn of(dialect: Dialect, instructions: &[Instruction]) -> Result<Self, Invalid> {
        if instructions.is_empty() {
            return Err(Invalid::Empty);
        }
        if instructions.len() > PROGRAM_MAX {
            return Err(Invalid::TooLong(instructions.len()));
        }
        let mut ops = Vec::with_capacity(instructions.len());
        let mut keys = 0;
        for (at, &instruction) in instructions.iter().enumerate() {
            let rest = instructions.len() - at - 1;
            let op = decode(dialect, at, rest, instruction)?;
            // Keys stand directly behind their match, and nowhere else.
            match (keys, op) {
                (0, Op::Key(_)) => return Err(Invalid::BadKeys(at)),
                (0, Op::Match { keys: more, .. }) => keys = more,
                (0, _) => {}
                (_, Op::Key(_)) => keys -= 1,
                _ => return Err(Invalid::BadKeys(at)),
            }
            ops.push(op);
        }
        if keys > 0 {
            return Err(Invalid::BadKeys(instructions.len() - 1));
        }
        let ends = match ops.iter().rev().find(|op| !matches!(op, Op::Key(_))) {
            Some(last) => matches!(last, Op::Return(_) | Op::ReturnAccumulator | Op::Match { .. }),
            None => false,
        };
        if !ends {
            return Err(Invalid::NoReturn);
        }
        // A jump onto a key would run it.
        for (at, (&op, &Instruction { jt, jf, .. })) in ops.iter().zip(instructions).enumerate() {
            let lands = |skip: usize| !matches!(ops.get(at + 1 + skip), Some(Op::Key(_)) | None);
            let fine = match op {
                Op::Jump(skip) => lands(skip as usize),
                Op::Within { .. } | Op::CommonBit { .. } | Op::BranchX { .. } => {
                    lands(jt.into()) && lands(jf.into())
                }
                _ => true,
            };
            if !fine {
                return Err(Invalid::JumpTooFar(at));
            }
        }
        join_tests(&mut ops);
        Ok(Self { ops: ops.into(), instructions: instructions.into(), source: None })
    }

    /// Says the same to every frame: `count` bytes are wanted, and with 0 the frame is not.
    #[must_use]
    pub fn constant(count: u32) -> Self {
        Self {
            ops: [Op::Return(count)].into(),
            instructions: [Instruction::new(RET | K, count)].into(),
            source: None,
        }
    }

    /// The same program, which remembers what it was compiled from.
    pub(crate) fn with_source(self, expression: &str) -> Self {
        Self { source: Some(expression.into()), ..self }
    }

    /// The expression that the program was compiled from, if it was.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The program as it was given.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// A comparison with the operand.
fn compare(ask: Comparison, k: u32, yes: u8, no: u8) -> Op {
    let from = |base: u32| Op::Within { base, span: u32::MAX - base, yes, no };
    match ask {
        Comparison::Equal => Op::Within { base: k, span: 0, yes, no },
        Comparison::GreaterOrEqual => from(k),
        // Nothing is greater than the greatest number: both ways are the one that is taken.
        Comparison::Greater => {
            k.checked_add(1).map_or(Op::Within { base: 0, span: 0, yes: no, no }, from)
        }
        Comparison::CommonBit => Op::CommonBit { k, yes, no },
    }
}

/// Makes one operation of each load and the comparison behind it.
fn join_tests(ops: &mut [Op]) {
    for at in 1..ops.len() {
        let [.., load, Op::Within { base, span, yes, no }] = ops.get_mut(..=at).unwrap_or_default()
        else {
            continue;
        };
        let (base, span, yes, no) = (*base, *span, *yes, *no);
        let place = |place: u32| u16::try_from(place).ok();
        let test = match *load {
            Op::LoadWord(from) => place(from).map(|at| Op::TestWord { at, base, span, yes, no }),
            Op::LoadHalf(from) => place(from).map(|at| Op::TestHalf { at, base, span, yes, no }),
            Op::LoadByte(from) => place(from).map(|at| Op::TestByte { at, base, span, yes, no }),
            _ => None,
        };
        *load = test.unwrap_or(*load);
    }
}

fn decode(
    dialect: Dialect,
    at: usize,
    rest: usize,
    instruction: Instruction,
) -> Result<Op, Invalid> {
    let Instruction { code, jt, jf, k } = instruction;
    let unknown = Invalid::UnknownCode { at, code };
    let word = || match u8::try_from(k) {
        Ok(word) if usize::from(word) < MEMORY => Ok(word),
        _ => Err(Invalid::NoSuchWord { at, word: k }),
    };
    if code & !0xff != 0 {
        return Err(unknown);
    }
    Ok(match code & CLASS {
        LD => match code & !CLASS {
            op if op == W | ABS => Op::LoadWord(k),
            op if op == H | ABS => Op::LoadHalf(k),
            op if op == B | ABS => Op::LoadByte(k),
            op if op == W | IND => Op::LoadWordAtX(k),
            op if op == H | IND => Op::LoadHalfAtX(k),
            op if op == B | IND => Op::LoadByteAtX(k),
            op if op == W | IMM => Op::LoadImmediate(k),
            op if op == W | LEN => Op::LoadLength,
            op if op == W | MEM => Op::LoadMemory(word()?),
            _ => return Err(unknown),
        },
        LDX => match code & !CLASS {
            op if op == W | IMM => Op::IndexImmediate(k),
            op if op == W | LEN => Op::IndexLength,
            op if op == W | MEM => Op::IndexMemory(word()?),
            op if op == B | MSH => Op::IndexHeaderLength(k),
            _ => return Err(unknown),
        },
        ST if code == ST => Op::Store(word()?),
        STX if code == STX => Op::StoreIndex(word()?),
        ALU if code & 0xf0 == NEG => Op::Negate,
        ALU => {
            let how = match code & 0xf0 {
                ADD => Calculation::Add,
                SUB => Calculation::Sub,
                MUL => Calculation::Mul,
                DIV => Calculation::Div,
                MOD => Calculation::Mod,
                OR => Calculation::Or,
                AND => Calculation::And,
                XOR => Calculation::Xor,
                LSH => Calculation::Lsh,
                RSH => Calculation::Rsh,
                _ => return Err(unknown),
            };
            match how {
                _ if code & X != 0 => Op::CalculateX(how),
                Calculation::Div | Calculation::Mod if k == 0 => {
                    return Err(Invalid::DivisionByZero(at));
                }
                Calculation::Lsh | Calculation::Rsh if k >= 32 => {
                    return Err(Invalid::ShiftTooFar(at));
                }
                _ => Op::Calculate(how, k),
            }
        }
        JMP => {
            if code == JMP | JA {
                return match usize::try_from(k) {
                    Ok(skip) if skip < rest => Ok(Op::Jump(k)),
                    _ => Err(Invalid::JumpTooFar(at)),
                };
            }
            let ask = match code & 0xf0 {
                JEQ => Comparison::Equal,
                JGT => Comparison::Greater,
                JGE => Comparison::GreaterOrEqual,
                JSET => Comparison::CommonBit,
                _ => return Err(unknown),
            };
            if usize::from(jt.max(jf)) >= rest {
                return Err(Invalid::JumpTooFar(at));
            }
            if code & X != 0 {
                Op::BranchX { ask, yes: jt, no: jf }
            } else {
                compare(ask, k, jt, jf)
            }
        }
        RET => match code {
            code if code == RET | K => Op::Return(k),
            code if code == RET | A => Op::ReturnAccumulator,
            code if code == RET | MATCH_IMM && dialect == Dialect::Mach => {
                if !(1..=KEYS_MAX).contains(&usize::from(jt)) {
                    return Err(Invalid::BadKeys(at));
                }
                Op::Match { keys: jt, k }
            }
            _ => return Err(unknown),
        },
        MISC => match code {
            code if code == MISC | TAX => Op::ToIndex,
            code if code == MISC | TXA => Op::ToAccumulator,
            code if code == MISC | KEY && dialect == Dialect::Mach => Op::Key(k),
            _ => return Err(unknown),
        },
        _ => return Err(unknown),
    })
}

#[cfg(test)]
mod tests;
