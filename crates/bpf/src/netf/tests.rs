use alloc::vec::Vec;

use proptest::prelude::*;

use super::argument::*;
use super::*;

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = alloc::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn accepts(words: &[u16], frame: &[u8]) -> bool {
    Program::new(words, WordOrder::Big).unwrap().accepts(frame)
}

#[test]
fn nothing_asked_is_everything_wanted() {
    assert!(accepts(&[], &frame(0x800, &[])));
    assert!(accepts(&[PUSHLIT, 1], &frame(0x800, &[])));
    assert!(!accepts(&[PUSHZERO], &frame(0x800, &[])));
}

#[test]
fn the_packet_begins_with_its_length_and_type() {
    let ip = frame(0x800, &[0x45, 0, 0, 20]);
    for (word, value) in [(0, 8), (1, 0x800), (2, 0x4500), (3, 20)] {
        let filter = [PUSHWORD + word, PUSHLIT | op::EQ, value];
        assert!(accepts(&filter, &ip), "word {word}");
    }
    assert!(!accepts(&[PUSHWORD + 4, PUSHLIT | op::OR, 1], &ip), "behind the end is no");
    // The last byte of an odd packet is in no word.
    assert!(!accepts(&[PUSHWORD + 2, PUSHLIT | op::OR, 1], &frame(0x800, &[0x45])));
}

#[test]
fn the_device_header_is_longer_than_ethernets() {
    let arp = frame(0x806, &[1; 60]);
    assert!(accepts(&[PUSHHDR + 6, PUSHLIT | op::EQ, 0x806], &arp));
    assert!(accepts(&[PUSHHDR + 7, PUSHZERO | op::EQ], &arp));
    assert!(accepts(&[PUSHHDR + 31, PUSHZERO | op::EQ], &arp));
    assert!(accepts(&[PUSHLIT, 6, PUSHHDRIND, PUSHLIT | op::EQ, 0x806], &arp));
    assert!(!accepts(&[PUSHLIT, 32, PUSHHDRIND, PUSHLIT | op::OR, 1], &arp));
    assert!(accepts(&[PUSHLIT, 2, PUSHIND, PUSHLIT | op::EQ, 0x0101], &arp));
}

#[test]
fn literals_are_in_the_order_of_the_clients_machine() {
    let ip = frame(0x800, &[]);
    let filter = [PUSHWORD + 1, PUSHLIT | op::EQ, 0x0008];
    assert!(Program::new(&filter, WordOrder::Little).unwrap().accepts(&ip[..]));
    assert!(!accepts(&filter, &ip));
}

#[test]
fn short_circuits_end_at_once_and_take_the_value_off() {
    let ip = frame(0x800, &[]);
    for (operation, literal, verdict) in [
        (op::CAND, 0x801, false),
        (op::COR, 0x800, true),
        (op::CNOR, 0x800, false),
        (op::CNAND, 0x801, true),
    ] {
        // What comes after would say the opposite.
        let rest = if verdict { PUSHZERO } else { PUSHLIT };
        let filter = [PUSHWORD + 1, PUSHLIT | operation, literal, rest, 1];
        let filter = if verdict { &filter[..4] } else { &filter[..] };
        assert_eq!(accepts(filter, &ip), verdict, "{operation}");
    }
    // Not ended: the first "true" is on top again.
    assert!(accepts(&[PUSHWORD + 1, PUSHLIT | op::CAND, 0x800], &ip));
}

#[test]
fn operations_calculate() {
    for (operation, under, value, result) in [
        (op::LT, 1, 2, 1),
        (op::LE, 2, 2, 1),
        (op::GT, 2, 2, 0),
        (op::GE, 2, 2, 1),
        (op::NEQ, 2, 2, 0),
        (op::AND, 6, 3, 2),
        (op::OR, 6, 3, 7),
        (op::XOR, 6, 3, 5),
        (op::LSH, 1, 3, 8),
        (op::RSH, 8, 3, 1),
        (op::ADD, 2, 3, 5),
        (op::SUB, 5, 3, 2),
    ] {
        let filter = [PUSHLIT, under, PUSHLIT | operation, value, PUSHLIT | op::EQ, result];
        assert!(accepts(&filter, &frame(0, &[])), "{operation}");
        let other = [PUSHLIT, under, PUSHLIT | operation, value, PUSHLIT | op::NEQ, result];
        assert!(!accepts(&other, &frame(0, &[])), "{operation}");
    }
    // 2 - 3 is larger than everything that can be pushed, and its sign stays when shifted.
    assert!(accepts(&[PUSHLIT, 2, PUSHLIT | op::SUB, 3, PUSHLIT | op::GT, 0xffff], &frame(0, &[])));
}

#[test]
fn what_mach_would_read_outside_of_its_stack_is_refused() {
    let new = |words: &[u16]| Program::new(words, WordOrder::Little);
    assert_eq!(new(&[NOPUSH | op::AND]), Err(Invalid::Underflow(0)));
    assert_eq!(new(&[PUSHLIT | op::CAND, 1]), Err(Invalid::Underflow(2)));
    assert_eq!(new(&[PUSHSTK + 1]), Err(Invalid::Underflow(0)));
    assert!(new(&[PUSHSTK]).is_ok());
    assert!(new(&[NOPUSH]).is_ok(), "taken off and put back");
    assert_eq!(new(&[PUSHLIT]), Err(Invalid::NoLiteral(0)));
    assert_eq!(new(&[PUSHZERO; 33]), Err(Invalid::Overflow(32)));
    assert_eq!(
        new(&[PUSHZERO | 18 << 10]),
        Err(Invalid::UnknownOperation { at: 0, operation: 18 })
    );
    assert_eq!(new(&[NOPUSH; WORDS_MAX]), Err(Invalid::TooLong(WORDS_MAX + 1)));
}

/// The same machine written down as plainly as can be: a vector, and Mach's rules in their order.
fn naive(words: &[u16], frame: &[u8]) -> Option<bool> {
    let mut stack = alloc::vec![1u32];
    let mut packet = alloc::vec![u16::try_from(frame.len() - 10).unwrap()];
    packet.extend(frame[12..].chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])));
    let mut header = frame[..14].to_vec();
    header.resize(64, 0);
    let header: Vec<u16> =
        header.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
    let mut at = 0;
    while at < words.len() {
        let (operation, argument) = (words[at] >> 10, words[at] & 0x3ff);
        at += 1;
        let value = match argument {
            0 => stack.pop()?,
            1 => {
                at += 1;
                words[at - 1].into()
            }
            2 => 0,
            14 => u32::from(*packet.get(stack.pop()? as usize)?),
            15 => u32::from(*header.get(stack.pop()? as usize)?),
            992.. => stack[stack.len() - 1 - usize::from(argument - 992)],
            960.. => header[usize::from(argument - 960)].into(),
            16.. => u32::from(*packet.get(usize::from(argument - 16))?),
            _ => return None,
        };
        if operation == 0 {
            stack.push(value);
            continue;
        }
        let under = stack.pop()?;
        let result = match operation {
            1 => u32::from(under == value),
            2 => u32::from(under < value),
            3 => u32::from(under <= value),
            4 => u32::from(under > value),
            5 => u32::from(under >= value),
            6 => under & value,
            7 => under | value,
            8 => under ^ value,
            9 if under == value => return Some(true),
            10 if under != value => return Some(false),
            11 if under == value => return Some(false),
            12 if under != value => return Some(true),
            9..=12 => continue,
            13 => u32::from(under != value),
            14 => under << (value % 32),
            15 => ((under as i32) >> (value % 32)) as u32,
            16 => under.wrapping_add(value),
            _ => under.wrapping_sub(value),
        };
        stack.push(result);
    }
    Some(stack.pop()? != 0)
}

fn word() -> impl Strategy<Value = u16> {
    let argument = prop_oneof![
        4 => Just(PUSHLIT),
        2 => Just(NOPUSH),
        1 => Just(PUSHZERO),
        1 => Just(PUSHIND),
        1 => Just(PUSHHDRIND),
        3 => PUSHWORD..PUSHWORD + 40,
        2 => PUSHHDR..PUSHHDR + 32,
        2 => PUSHSTK..PUSHSTK + 4,
        1 => 0u16..0x400,
    ];
    (argument, 0u16..18).prop_map(|(argument, operation)| operation << 10 | argument)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn it_says_what_the_naive_machine_says(
        words in proptest::collection::vec(prop_oneof![3 => word(), 1 => 0u16..40], 0..24),
        payload in proptest::collection::vec(0u8..4, 0..40),
    ) {
        let frame = frame(0x800, &payload);
        if let Ok(program) = Program::new(&words, WordOrder::Big) {
            prop_assert_eq!(program.accepts(&frame[..]), naive(&words, &frame).unwrap_or(false));
        }
    }

    #[test]
    fn any_words_and_any_frame(
        words in proptest::collection::vec(any::<u16>(), 0..64),
        frame in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(program) = Program::new(&words, WordOrder::Little) {
            let _ = program.accepts(&frame[..]);
        }
    }
}
