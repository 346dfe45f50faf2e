//! Comparisons of numbers that are calculated from a frame.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::Error;
use super::generate::{Generator, Test, Tests, and};
use super::syntax::{Arith, Binary, Proto, Relation, Relop, Span};
use crate::instruction::*;

/// A number: how it gets into the accumulator, and what a frame must be so that it is there at all.
struct Number {
    code: Vec<Instruction>,
    needs: Tests,
}

pub(super) fn generate(generator: &Generator, relation: &Relation) -> Result<Tests, Error> {
    let mut calculator = Calculator { generator, memory: 0 };
    let (jump, negated) = match relation.relop {
        Relop::Eq => (JEQ, false),
        Relop::Ne => (JEQ, true),
        Relop::Gt => (JGT, false),
        Relop::Ge => (JGE, false),
        Relop::Lt => (JGE, true),
        Relop::Le => (JGT, true),
    };
    let (left, right) = (fold(&relation.left)?, fold(&relation.right)?);
    let (needs, answer) = match (&left, &right) {
        (Arith::Number(a), Arith::Number(b)) => {
            let holds = match jump {
                JEQ => a == b,
                JGT => a > b,
                _ => a >= b,
            };
            (Tests::Always(true), Tests::Always(holds))
        }
        (_, Arith::Number(k)) => {
            let number = calculator.number(&left)?;
            (number.needs, Tests::Test(Test { load: number.code, jump: jump | K, k: *k }))
        }
        _ => {
            let first = calculator.number(&left)?;
            let place = calculator.keep(&relation.at)?;
            let second = calculator.number(&right)?;
            // The left one waits in memory, the right one becomes the index.
            let mut load = first.code;
            load.push(Instruction::new(ST, place));
            load.extend(second.code);
            load.push(Instruction::new(MISC | TAX, 0));
            load.push(Instruction::new(LD | MEM, place));
            let needs = and(first.needs, second.needs);
            (needs, Tests::Test(Test { load, jump: jump | X, k: 0 }))
        }
    };
    Ok(and(needs, if negated { answer.negated() } else { answer }))
}

/// Calculates what does not depend on a frame.
fn fold(number: &Arith) -> Result<Arith, Error> {
    Ok(match number {
        Arith::Number(_) | Arith::Length => number.clone(),
        Arith::Load { proto, index, size, at, index_at } => Arith::Load {
            proto: *proto,
            index: fold(index)?.into(),
            size: *size,
            at: at.clone(),
            index_at: index_at.clone(),
        },
        Arith::Negate(inner) => match fold(inner)? {
            Arith::Number(number) => Arith::Number(number.wrapping_neg()),
            other => Arith::Negate(other.into()),
        },
        Arith::Binary { how, left, right, at } => {
            let (left, right) = (fold(left)?, fold(right)?);
            match (how, &right) {
                (Binary::Div | Binary::Mod, Arith::Number(0)) => {
                    return Err(Error::new(at.clone(), "this divides by zero"));
                }
                (Binary::Lsh | Binary::Rsh, Arith::Number(32..)) => {
                    return Err(Error::new(at.clone(), "a number has 32 bits: shift by 0 to 31"));
                }
                _ => {}
            }
            if let (Arith::Number(a), Arith::Number(b)) = (&left, &right) {
                return Ok(Arith::Number(calculate(*how, *a, *b)));
            }
            Arith::Binary { how: *how, left: left.into(), right: right.into(), at: at.clone() }
        }
    })
}

/// `b` is no zero where that would divide.
fn calculate(how: Binary, a: u32, b: u32) -> u32 {
    match how {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div => a.checked_div(b).unwrap_or(0),
        Binary::Mod => a.checked_rem(b).unwrap_or(0),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Lsh => a.wrapping_shl(b),
        Binary::Rsh => a.wrapping_shr(b),
    }
}

fn operation(how: Binary) -> u16 {
    match how {
        Binary::Add => ADD,
        Binary::Sub => SUB,
        Binary::Mul => MUL,
        Binary::Div => DIV,
        Binary::Mod => MOD,
        Binary::And => AND,
        Binary::Or => OR,
        Binary::Xor => XOR,
        Binary::Lsh => LSH,
        Binary::Rsh => RSH,
    }
}

struct Calculator<'a> {
    generator: &'a Generator,
    /// Words of memory that hold a value which is still needed.
    memory: u32,
}

impl Calculator<'_> {
    /// A word of memory for the value that is in the accumulator.
    fn keep(&mut self, at: &Span) -> Result<u32, Error> {
        let place = self.memory;
        if place as usize >= MEMORY {
            let why = format!("more than {MEMORY} values would have to be kept at the same time");
            return Err(Error::new(at.clone(), why));
        }
        self.memory += 1;
        Ok(place)
    }

    fn number(&mut self, number: &Arith) -> Result<Number, Error> {
        let plain = |code| Number { code, needs: Tests::Always(true) };
        Ok(match number {
            Arith::Number(k) => plain(vec![Instruction::new(LD | IMM, *k)]),
            Arith::Length => plain(vec![Instruction::new(LD | W | LEN, 0)]),
            Arith::Negate(inner) => {
                let mut number = self.number(inner)?;
                number.code.push(Instruction::new(ALU | NEG, 0));
                number
            }
            Arith::Binary { how, left, right, at } => {
                if let Arith::Number(k) = **right {
                    let mut number = self.number(left)?;
                    number.code.push(Instruction::new(ALU | operation(*how) | K, k));
                    return Ok(number);
                }
                let first = self.number(left)?;
                let place = self.keep(at)?;
                let second = self.number(right)?;
                self.memory = place;
                let mut code = first.code;
                code.push(Instruction::new(ST, place));
                code.extend(second.code);
                code.push(Instruction::new(MISC | TAX, 0));
                code.push(Instruction::new(LD | MEM, place));
                code.push(Instruction::new(ALU | operation(*how) | X, 0));
                Number { code, needs: and(first.needs, second.needs) }
            }
            Arith::Load { proto, index, size, at, index_at } => {
                self.load(*proto, (index, index_at), *size, at)?
            }
        })
    }

    fn load(
        &mut self,
        proto: Proto,
        (index, index_at): (&Arith, &Span),
        size: u8,
        at: &Span,
    ) -> Result<Number, Error> {
        let size = match size {
            4 => W,
            2 => H,
            _ => B,
        };
        let offsets = &self.generator.offsets;
        let protocol = |proto| self.generator.protocol(proto, at);
        let network = offsets.network();
        let (needs, base, behind_ip) = match proto {
            Proto::Ether => (Tests::Always(true), offsets.header(), false),
            Proto::Ip
            | Proto::Ip6
            | Proto::Arp
            | Proto::Rarp
            | Proto::Atalk
            | Proto::Decnet
            | Proto::Lat
            | Proto::Sca
            | Proto::Moprc
            | Proto::Mopdl => (protocol(proto)?, network, false),
            Proto::Tcp
            | Proto::Udp
            | Proto::Sctp
            | Proto::Icmp
            | Proto::Igmp
            | Proto::Igrp
            | Proto::Pim
            | Proto::Vrrp
            | Proto::Carp => {
                let first = and(protocol(proto)?, self.generator.first_fragment());
                (and(protocol(Proto::Ip)?, first), network, true)
            }
            // Behind the fixed header of IPv6.
            Proto::Icmp6 => {
                let is_icmp6 = Tests::Test(Test {
                    load: vec![Instruction::new(LD | B | ABS, network + 6)],
                    jump: JEQ | K,
                    k: 58,
                });
                (and(protocol(Proto::Ip6)?, is_icmp6), network + 40, false)
            }
            _ => {
                let why = "the bytes of this protocol cannot be looked at by its name: count them \
                           from ether[] or ip[]";
                return Err(Error::new(at.clone(), why));
            }
        };
        if let Arith::Number(constant) = index {
            // The upper half are negative ones, which mean other things to a kernel.
            let Ok(constant) = i32::try_from(*constant) else {
                let why = format!(
                    "an offset counts from the beginning of the header: {} is before it",
                    constant.cast_signed()
                );
                return Err(Error::new(index_at.clone(), why));
            };
            let place = base + constant.cast_unsigned();
            let code = if behind_ip {
                vec![
                    Instruction::new(LDX | B | MSH, network),
                    Instruction::new(LD | size | IND, place),
                ]
            } else {
                vec![Instruction::new(LD | size | ABS, place)]
            };
            return Ok(Number { code, needs });
        }
        let index = self.number(index)?;
        let mut code = index.code;
        if behind_ip {
            code.push(Instruction::new(LDX | B | MSH, network));
            code.push(Instruction::new(ALU | ADD | X, 0));
        }
        code.push(Instruction::new(MISC | TAX, 0));
        code.push(Instruction::new(LD | size | IND, base));
        Ok(Number { code, needs: and(needs, index.needs) })
    }
}
