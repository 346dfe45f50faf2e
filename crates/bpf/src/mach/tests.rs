use alloc::vec::Vec;

use super::*;
use crate::instruction::*;

fn words(header: u16, program: &[Instruction]) -> Vec<u16> {
    let mut words = alloc::vec![header, 0, 0, 0];
    for i in program {
        words.push(i.code);
        words.push(u16::from_le_bytes([i.jt, i.jf]));
        words.push(i.k as u16);
        words.push((i.k >> 16) as u16);
    }
    words
}

fn filter(header: u16, program: &[Instruction]) -> Filter {
    Filter::new(&words(header, program), WordOrder::Little).unwrap()
}

fn frame(ethertype: u16, payload: usize) -> Vec<u8> {
    let mut frame = alloc::vec![0; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.resize(14 + payload, 7);
    frame
}

/// What pfinet sets: ARP, IPv4 and IPv6.
fn pfinets() -> Vec<Instruction> {
    alloc::vec![
        Instruction::new(LD | H | ABS, 12),
        Instruction::jump(JMP | JEQ | K, 0x806, 2, 0),
        Instruction::jump(JMP | JEQ | K, 0x800, 1, 0),
        Instruction::jump(JMP | JEQ | K, 0x86dd, 0, 1),
        Instruction::new(RET | K, 1500),
        Instruction::new(RET | K, 0),
    ]
}

#[test]
fn a_bpf_filter_counts_payload_bytes() {
    let filter = filter(BPF | IN, &pfinets());
    assert_eq!(filter.wants(&frame(0x800, 40)[..]), Some(40));
    assert_eq!(filter.wants(&frame(0x86dd, 4000)[..]), Some(1500));
    assert_eq!(filter.wants(&frame(0x8100, 40)[..]), None);
    assert!(filter.asks_about(Direction::In) && !filter.asks_about(Direction::Out));
    let short = Filter::new(&words(BPF | IN, &[Instruction::new(RET | K, 24)]), WordOrder::Little);
    assert_eq!(short.unwrap().wants(&frame(0x800, 50)[..]), Some(24));
}

#[test]
fn the_header_says_which_machine_and_direction() {
    let new = |words: &[u16]| Filter::new(words, WordOrder::Little);
    assert_eq!(new(&[]), Err(Invalid::Empty));
    assert_eq!(new(&[BPF, 0, 0, 0, RET, 0, 1, 0]), Err(Invalid::NoDirection));
    assert_eq!(new(&[IN | 5 << 10]), Err(Invalid::UnknownMachine(5)));
    assert_eq!(new(&[BPF | IN, 0, 0]), Err(Invalid::NotInstructions(3)));
    assert_eq!(new(&[BPF | IN, 0, 0, 0]), Err(Invalid::Bpf(program::Invalid::Empty)));
    let everything = new(&[IN | OUT]).unwrap();
    assert!(everything.asks_about(Direction::Out));
    assert_eq!(everything.wants(&frame(1, 3)[..]), Some(3));
    // Frames without a whole header are no frames.
    assert_eq!(everything.wants(&[0u8; 13][..]), None);
}

#[test]
fn instructions_are_read_in_the_order_of_the_machine() {
    let little = words(BPF | IN, &[Instruction { code: 0x15, jt: 1, jf: 2, k: 0x1234_5678 }]);
    assert_eq!(little[4..], [0x15, 0x0201, 0x5678, 0x1234]);
    let big = [BPF | IN, 0, 0, 0, 0x15, 0x0102, 0x1234, 0x5678];
    let read = |words: &[u16], order| instructions(words, order).unwrap();
    assert_eq!(read(&little, WordOrder::Little), read(&big, WordOrder::Big));
}

/// Wants frames whose type is `low` or `low + 1` and remembers the type for the keys.
fn matching(key: u32) -> Vec<Instruction> {
    alloc::vec![
        Instruction::new(LD | H | ABS, 12),
        Instruction::new(ST, 0),
        Instruction { code: RET | MATCH_IMM, jt: 1, jf: 0, k: 100 },
        Instruction::new(MISC | KEY, key),
    ]
}

#[test]
fn a_match_compares_the_memory_with_the_keys() {
    let filter = filter(BPF | IN, &matching(0x800));
    assert_eq!(filter.wants(&frame(0x800, 200)[..]), Some(100));
    assert_eq!(filter.wants(&frame(0x801, 200)[..]), None);
}

#[test]
fn keys_stand_behind_their_match_and_nowhere_else() {
    let of = |program: &[Instruction]| Program::of(Dialect::Mach, program).map(|_| ());
    let key = Instruction::new(MISC | KEY, 1);
    let ret = Instruction::new(RET | K, 1);
    let two = Instruction { code: RET | MATCH_IMM, jt: 2, jf: 0, k: 1 };
    assert_eq!(of(&[two, key, key]), Ok(()));
    assert_eq!(of(&[two, key]), Err(program::Invalid::BadKeys(1)));
    assert_eq!(of(&[two, key, ret]), Err(program::Invalid::BadKeys(2)));
    assert_eq!(of(&[key, ret]), Err(program::Invalid::BadKeys(0)));
    assert_eq!(of(&[Instruction { jt: 5, ..two }, key]), Err(program::Invalid::BadKeys(0)));
    let onto_key = Instruction::jump(JMP | JEQ | K, 0, 0, 1);
    assert_eq!(of(&[onto_key, two, key, key]), Err(program::Invalid::JumpTooFar(0)));
    assert!(matches!(
        Program::new(&[two, key, key]),
        Err(program::Invalid::UnknownCode { at: 0, .. })
    ));
}

fn everything(header: u16) -> Filter {
    Filter::new(&[header], WordOrder::Little).unwrap()
}

fn asked(filters: &Filters<&'static str>, direction: Direction) -> Vec<&'static str> {
    filters.receivers(direction, &frame(0x800, 1)[..]).map(|(receiver, _)| *receiver).collect()
}

#[test]
fn more_important_filters_are_asked_first_and_equals_in_the_order_they_came() {
    let mut filters = Filters::new();
    for (name, priority) in [("a", 0), ("b", 50), ("c", 0), ("d", 50)] {
        filters.set(name, priority, everything(IN)).unwrap();
    }
    assert_eq!(asked(&filters, Direction::In), ["b", "d", "a", "c"]);
    assert!(asked(&filters, Direction::Out).is_empty());
    // Set again, it comes after its equals.
    filters.set("b", 50, everything(IN)).unwrap();
    assert_eq!(asked(&filters, Direction::In), ["d", "b", "a", "c"]);
    assert_eq!(filters.len(), 4);
    assert!(filters.remove(&"d") && !filters.remove(&"d"));
    assert_eq!(asked(&filters, Direction::In), ["b", "a", "c"]);
}

#[test]
fn a_high_priority_keeps_what_it_wants_from_the_others() {
    let mut filters = Filters::new();
    filters.set("low", 0, everything(IN)).unwrap();
    filters.set("arp", 100, filter(BPF | IN, &matching(0x806))).unwrap();
    assert_eq!(asked(&filters, Direction::In), ["low"], "it does not want this one");
    filters.set("high", 100, everything(IN)).unwrap();
    assert_eq!(asked(&filters, Direction::In), ["high"]);
    filters.set("higher", 255, everything(OUT)).unwrap();
    assert_eq!(asked(&filters, Direction::In), ["high"], "of the other direction");
}

#[test]
fn filters_are_bounded() {
    let mut filters = Filters::new();
    for receiver in 0..FILTERS_MAX {
        filters.set(receiver, 0, everything(IN)).unwrap();
    }
    assert_eq!(filters.set(FILTERS_MAX, 0, everything(IN)), Err(Full));
    assert_eq!(filters.set(0, 9, everything(IN)), Ok(()));
    assert_eq!(filters.len(), FILTERS_MAX);
}
