//! For fuzzing: whatever the bytes are, nothing panics, and what must agree agrees.

use alloc::vec::Vec;

use crate::expression::{self, Options};
use crate::mach::{Direction, Filter, Filters};
use crate::netf::{self, WordOrder};
use crate::{Dialect, Instruction, Packet, Pieces, Program};

/// Longest program that is made of a fuzzer's bytes, in instructions or words.
const LONGEST: usize = 64;

/// Bytes as a program and a packet. The first says which machine and how many instructions, the
/// second and third where the packet is in two.
pub fn program(data: &[u8]) {
    let Some((&[how, count, first, second], rest)) = data.split_first_chunk() else { return };
    let count = usize::from(count) % LONGEST;
    match how % 4 {
        0 | 1 => {
            let dialect = if how % 4 == 0 { Dialect::Classic } else { Dialect::Mach };
            let (code, packet) = rest.split_at_checked(8 * count).unwrap_or((rest, &[]));
            let (code, _) = code.as_chunks::<8>();
            let instructions: Vec<Instruction> = code
                .iter()
                .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
                    code: u16::from_be_bytes([c0, c1]),
                    jt,
                    jf,
                    k: u32::from_be_bytes([k0, k1, k2, k3]),
                })
                .collect();
            let Ok(program) = Program::of(dialect, &instructions) else { return };
            assert_eq!(program.instructions(), instructions);
            agree(&program, packet, first, second);
        }
        2 => {
            let (words, packet) = words(rest, count);
            let Ok(program) = netf::Program::new(&words, order(how)) else { return };
            let said = program.accepts(packet);
            assert_eq!(program.accepts(&cut(packet, first, second)), said);
        }
        _ => {
            let (words, packet) = words(rest, count);
            let Ok(filter) = Filter::new(&words, order(how)) else { return };
            let said = filter.wants(packet);
            assert_eq!(filter.wants(&cut(packet, first, second)), said);
            assert!(said.is_none_or(|count| count <= packet.len()));
            let mut filters = Filters::new();
            for (receiver, priority) in [(0, first), (1, second)] {
                let _ = filters.set(receiver, priority.into(), filter.clone());
            }
            for direction in [Direction::In, Direction::Out] {
                assert!(filters.receivers(direction, packet).count() <= 2);
            }
        }
    }
}

/// Bytes as an expression and, behind the first zero, a packet.
pub fn expression(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, packet) = data.split_at(end);
    let Ok(text) = core::str::from_utf8(text) else { return };
    let packet = packet.get(1..).unwrap_or_default();
    match expression::compile(text, &Options { snaplen: 96, netmask: Some(0xffff_ff00) }) {
        Ok(program) => {
            assert_eq!(program.source(), Some(text));
            let again = Program::new(program.instructions()).map(|again| again.run(packet));
            assert_eq!(again, Ok(program.run(packet)), "a compiled program is a valid one");
            assert!(matches!(program.run(packet), 0 | 96));
            let places = packet.first_chunk().map_or((0, 0), |&[first, second]| (first, second));
            agree(&program, packet, places.0, places.1);
        }
        Err(error) => {
            let place = error.place();
            assert!(place.start <= place.end && place.end <= text.len());
            let excerpt = error.excerpt(text);
            assert!(excerpt.ends_with('^') && excerpt.lines().count() == 2);
        }
    }
}

/// A packet in pieces is the packet.
fn agree(program: &Program, packet: &[u8], first: u8, second: u8) {
    let said = program.run(packet);
    assert_eq!(program.run(&cut(packet, first, second)), said);
    assert_eq!(program.accepts(packet), said != 0);
}

fn cut(packet: &[u8], first: u8, second: u8) -> Pieces<'_, 3> {
    let (head, rest) = packet.split_at_checked(first.into()).unwrap_or((packet, &[]));
    let (middle, tail) = rest.split_at_checked(second.into()).unwrap_or((rest, &[]));
    let pieces = Pieces([head, middle, tail]);
    assert_eq!(Packet::len(&pieces), packet.len());
    pieces
}

fn words(bytes: &[u8], count: usize) -> (Vec<u16>, &[u8]) {
    let (code, packet) = bytes.split_at_checked(2 * count).unwrap_or((bytes, &[]));
    let (code, _) = code.as_chunks::<2>();
    (code.iter().map(|&word| u16::from_be_bytes(word)).collect(), packet)
}

fn order(how: u8) -> WordOrder {
    if how & 4 == 0 { WordOrder::Little } else { WordOrder::Big }
}
