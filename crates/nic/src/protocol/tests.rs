use proptest::prelude::*;

use super::*;
use crate::slots::SLOTS;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn frames(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = frames_header(parts.len().try_into().unwrap()).to_vec();
    for part in parts {
        message.extend_from_slice(&record_header(part.len().try_into().unwrap(), [7; 12]));
        message.extend_from_slice(part);
    }
    message
}

#[test]
fn what_is_said_is_heard() {
    let hello = hello("eth0", true).unwrap();
    let expected = Hello { version: VERSION, device: "eth0".into(), lends: true };
    assert_eq!(ToHelper::decode(&hello), Ok(ToHelper::Hello(expected)));
    let without = hello[..hello.len() - 1].to_vec();
    let expected = Hello { version: VERSION, device: "eth0".into(), lends: false };
    assert_eq!(ToHelper::decode(&without), Ok(ToHelper::Hello(expected)));
    assert_eq!(ToHelper::decode(&memory()), Ok(ToHelper::Memory));
    assert_eq!(FromHelper::decode(&lend()), Ok(FromHelper::Lend));
    assert_eq!(ToHelper::decode(&claim(MAC)), Ok(ToHelper::Claim(MAC)));
    assert_eq!(ToHelper::decode(&release(MAC)), Ok(ToHelper::Release(MAC)));
    assert_eq!(ToHelper::decode(&ask_counters()), Ok(ToHelper::Counters));
    let welcome = Welcome {
        version: VERSION,
        mtu: 1500,
        offloads: OffloadSet::CSUM | OffloadSet::TSO6,
        own: MAC,
        max_macs: 3,
        ranges: vec![MacRange { first: 1, last: 2 }, MacRange { first: 5, last: 1 << 47 }],
    };
    assert_eq!(FromHelper::decode(&welcome.encode()), Ok(FromHelper::Welcome(welcome.clone())));
    assert_eq!(FromHelper::decode(&refused("No.")), Ok(FromHelper::Refused("No.")));
    for result in [Ok(()), Err(ClaimRefusal::TooMany), Err(ClaimRefusal::Taken)] {
        let message = claimed(MAC, result);
        assert_eq!(FromHelper::decode(&message), Ok(FromHelper::Claimed(MAC, result)));
    }
    assert_eq!(FromHelper::decode(&carrier(true)), Ok(FromHelper::Carrier(true)));
    let counters = counters(&[3, 4]);
    let Ok(FromHelper::Counters(numbers)) = FromHelper::decode(&counters) else {
        panic!("counters")
    };
    assert_eq!([numbers.get(0), numbers.get(1), numbers.get(2)], [3, 4, 0]);
}

#[test]
fn frames_come_out_as_they_went_in() {
    let message = frames(&[b"one", b"", b"three"]);
    let Ok(ToHelper::Frames(records)) = ToHelper::decode(&message) else { panic!("frames") };
    let seen: Vec<&[u8]> = records.map(|record| record.frame).collect();
    assert_eq!(seen, [&b"one"[..], b"", b"three"]);
    assert!(records.into_iter().all(|record| *record.header == [7; 12]));
}

#[test]
fn a_message_that_lies_about_its_frames_is_none() {
    let message = frames(&[b"one", b"two"]);
    for len in 0..message.len() {
        assert!(ToHelper::decode(&message[..len]).is_err(), "{len}");
    }
    let mut longer = message.clone();
    longer.push(0);
    assert_eq!(ToHelper::decode(&longer), Err(ProtocolError::Frame));
    let mut more = message.clone();
    more[2..4].copy_from_slice(&3_u16.to_ne_bytes());
    assert_eq!(ToHelper::decode(&more), Err(ProtocolError::Frame));
    let mut huge = message.clone();
    huge[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(ToHelper::decode(&huge), Err(ProtocolError::Frame));
    let many = frames(&[&b""[..]; RECORDS_MAX + 1]);
    assert_eq!(ToHelper::decode(&many), Err(ProtocolError::Records(65)));
    assert_eq!(ToHelper::decode(&frames(&[])), Err(ProtocolError::Records(0)));
}

#[test]
fn places_come_out_as_they_went_in_and_impossible_ones_not_at_all() {
    let place = |slot, len| Place { slot, len, header: [7; 12], lent: None };
    let lent = |front, at| Place { lent: Some(Lent { front, at }), ..place(3, 3000) };
    let message = |places: &[Place]| {
        let mut message = places_header(places.len().try_into().unwrap()).to_vec();
        places.iter().for_each(|place| message.extend_from_slice(&place.encode()));
        message
    };
    let good =
        [place(0, 0), place(SLOTS - 1, FRAME_MAX), place(3, 60), lent(0, 0), lent(ALONE, 1 << 26)];
    let bytes = message(&good);
    let Ok(ToHelper::Places(mut places)) = ToHelper::decode(&bytes) else { panic!("places") };
    assert!(FromHelper::decode(&bytes) == Ok(FromHelper::Places(places)));
    assert_eq!(places.len(), good.len());
    assert!(places.eq(good), "{places:?}");
    assert_eq!(places.next(), Some(good[0]));
    let mut rest = Vec::new();
    places.write_message(&mut rest);
    assert_eq!(rest, message(&good[1..]));
    for len in 0..bytes.len() {
        assert!(ToHelper::decode(&bytes[..len]).is_err(), "{len}");
    }
    let long = Place { len: FRAME_MAX, ..lent(ALONE + 1, 0) };
    let behind = Place { len: 300, ..lent(300, 0) };
    for bad in [place(SLOTS, 1), place(u16::MAX, 1), place(0, FRAME_MAX + 1), long, behind] {
        let bytes = message(&[good[2], bad]);
        assert_eq!(ToHelper::decode(&bytes), Err(ProtocolError::Place), "{bad:?}");
    }
    let mut padded = message(&good[..1]);
    padded[HEADER_LEN + 2] = 1;
    assert_eq!(
        ToHelper::decode(&padded),
        Err(ProtocolError::Place),
        "a front, and nothing that was lent"
    );
    let many = vec![good[2]; RECORDS_MAX + 1];
    assert_eq!(ToHelper::decode(&message(&many)), Err(ProtocolError::Records(65)));
    assert_eq!(ToHelper::decode(&message(&[])), Err(ProtocolError::Records(0)));
}

#[test]
fn names_that_are_none_are_refused() {
    for bad in ["", "a name", "a/b", ".", "..", "sixteen-letters-"] {
        assert_eq!(hello(bad, false), Err(ProtocolError::Name), "{bad:?}");
    }
    let mut message = hello("eth0", true).unwrap();
    for byte in &mut message[6..] {
        *byte = b'x';
    }
    assert_eq!(ToHelper::decode(&message), Err(ProtocolError::Name));
}

#[test]
fn a_long_sentence_is_cut_between_characters() {
    let message = refused(&"ü".repeat(SENTENCE_MAX));
    let Ok(FromHelper::Refused(said)) = FromHelper::decode(&message) else { panic!("refused") };
    assert_eq!(said, "ü".repeat(SENTENCE_MAX / 2));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(ToHelper::Frames(records)) = ToHelper::decode(&bytes) {
            let (count, total) = (records.len(), records.map(|it| it.frame.len() + RECORD_LEN).sum::<usize>());
            prop_assert_eq!(records.count(), count);
            prop_assert_eq!(total + HEADER_LEN, bytes.len());
        }
        let _any = FromHelper::decode(&bytes);
    }
}
