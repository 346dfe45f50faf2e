//! Frames that the expressions of the test are about: whole, cut short, tagged and nested.

use testkit::Random;

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

/// A frame that holds all that an expression may ask for, but for offsets that it calculates.
pub(crate) fn whole(random: &mut Random) -> Vec<u8> {
    let mut frame = begin(random);
    let mut rest = vec![0; 90 + random.below(60)];
    random.fill(&mut rest);
    frame.extend(rest);
    frame
}

/// A frame that may end anywhere.
pub(crate) fn cut(random: &mut Random) -> Vec<u8> {
    let mut frame = whole(random);
    let len = random.below(frame.len() + 1);
    frame.truncate(len);
    frame
}

fn begin(random: &mut Random) -> Vec<u8> {
    let macs = [
        [2, 0, 0x5e, 0, 0x53, 1],
        [2, 0, 0x5e, 0, 0x53, 2],
        [0xff; 6],
        [1, 0, 0x5e, 0, 0, 1],
        [0x33, 0x33, 0, 0, 0, 1],
    ];
    let mut frame = Vec::new();
    frame.extend(pick(random, &macs));
    frame.extend(pick(random, &macs));
    while random.one_in(4) {
        frame.extend(u16::to_be_bytes(pick(random, &[0x8100, 0x8100, 0x88a8, 0x9100])));
        frame.extend(u16::to_be_bytes(pick(random, &[5, 7, 0x2005, 0])));
    }
    match random.below(20) {
        0..=5 => {
            frame.extend([8, 0]);
            ipv4(random, &mut frame);
        }
        6..=9 => {
            frame.extend([0x86, 0xdd]);
            ipv6(random, &mut frame);
        }
        10 | 11 => {
            frame.extend(pick(random, &[[8, 6], [0x80, 0x35]]));
            arp(random, &mut frame);
        }
        12 => {
            frame.extend([0x88, 0x47]);
            let labels = 1 + random.below(2);
            for left in (0..labels).rev() {
                let label = pick(random, &[5u32, 6]) << 12 | u32::from(left == 0) << 8 | 64;
                frame.extend(label.to_be_bytes());
            }
            if random.one_in(2) { ipv4(random, &mut frame) } else { ipv6(random, &mut frame) }
        }
        13 => {
            frame.extend(pick(random, &[[0x88, 0x64], [0x88, 0x64], [0x88, 0x63]]));
            let session = pick(random, &[3, 4]);
            frame.extend([0x11, 0, 0, session, 0, 50]);
            match random.below(6) {
                0 | 1 => {
                    frame.extend([0, 0x21]);
                    ipv4(random, &mut frame);
                }
                2 | 3 => {
                    frame.extend([0, 0x57]);
                    ipv6(random, &mut frame);
                }
                4 => {
                    frame.extend([0, 0x23]);
                    osi(random, &mut frame);
                }
                _ => {
                    frame.extend([0, 0x27]);
                    decnet(random, &mut frame);
                }
            }
        }
        14 => {
            frame.extend([0, 40, 0xfe, 0xfe, 3]);
            osi(random, &mut frame);
        }
        15 | 16 => {
            frame.extend([0, 40]);
            frame.extend(pick(random, &[[0x42; 2], [0xf0; 2], [0xfe; 2], [4, 5], [0xff; 2]]));
            // Each type of the control byte, with and without the bit that may be either.
            let controls = [
                0, 2, 0x10, 1, 5, 9, 0x0d, 3, 0x13, 0x43, 0x53, 0x63, 0x73, 0x6f, 0x7f, 0x87, 0x97,
                0xaf, 0xbf, 0xe3, 0xf3, 0x0f,
            ];
            frame.push(pick(random, &controls));
        }
        17 => {
            frame.extend([0x60, 3]);
            decnet(random, &mut frame);
        }
        18 => {
            frame.extend([0, 40]);
            let headers: [&[u8]; 7] = [
                &[0x42, 0x42, 3],
                &[0xf0, 0xf0, 3],
                &[0xe0, 0xe0, 3],
                &[0xff, 0xff, 0, 40],
                &[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37],
                &[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b],
                &[5, 5, 3],
            ];
            frame.extend(pick(random, &headers));
        }
        _ => frame.extend(u16::to_be_bytes(pick(
            random,
            &[0x809b, 0x80f3, 0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x8137, 0x9000, 0x1234],
        ))),
    }
    frame
}

/// CLNP, ES-IS, or a packet of IS-IS.
fn osi(random: &mut Random, frame: &mut Vec<u8>) {
    let protocol = pick(random, &[0x83, 0x83, 0x83, 0x83, 0x81, 0x82]);
    let kind = pick(random, &[15, 16, 17, 18, 20, 24, 25, 26, 27, 19]);
    frame.extend([protocol, 27, 1, 0, kind, 1, 0]);
}

/// A short or a long routing header, with a byte of padding before it or without.
fn decnet(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend([40, 0]);
    if random.one_in(2) {
        frame.push(0x81);
    }
    let flags = pick(random, &[0x02, 0x0a, 0x06, 0x2e, 0x05]);
    frame.push(flags);
    for _ in 0..2 {
        if flags & 7 == 6 {
            frame.extend([0, 0, 0xaa, 0, 4, 0]);
        }
        // 1.2, 1.300, 5.5 and 63.1023.
        frame.extend(pick(random, &[[0x02, 0x04], [0x2c, 0x05], [0x05, 0x14], [0xff, 0xff]]));
    }
}

fn address(random: &mut Random) -> [u8; 4] {
    pick(
        random,
        &[[192, 0, 2, 1], [192, 0, 2, 2], [10, 1, 2, 3], [10, 0, 0, 1], [224, 0, 0, 1], [255; 4]],
    )
}

fn ipv4(random: &mut Random, frame: &mut Vec<u8>) {
    let words = pick(random, &[5u8, 5, 5, 6, 8]);
    let protocol = pick(random, &[6u8, 6, 17, 17, 1, 2, 132, 50, 51, 103, 112, 9]);
    let fragment = pick(random, &[[0u8, 0], [0x40, 0], [0x20, 0], [0x20, 100]]);
    frame.extend([0x40 | words, 0, 0, 60, 0, 7]);
    frame.extend(fragment);
    let ttl = pick(random, &[1, 4, 64]);
    frame.extend([ttl, protocol, 0, 0]);
    frame.extend(address(random));
    frame.extend(address(random));
    frame.extend(vec![1; usize::from(words - 5) * 4]);
    transport(random, frame, protocol);
}

fn ipv6(random: &mut Random, frame: &mut Vec<u8>) {
    let protocol = pick(random, &[6u8, 6, 17, 17, 58, 132, 50, 51, 103]);
    let fragmented = random.one_in(6);
    frame.extend([0x60, 0, 0, 0, 0, 40]);
    frame.extend([if fragmented { 44 } else { protocol }, 64]);
    for _ in 0..2 {
        let mut address = [0u8; 16];
        match random.below(4) {
            0 => address[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]),
            1 => address[..6].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0x20, 0]),
            2 => address[..2].copy_from_slice(&[0xfe, 0x80]),
            _ => address[..2].copy_from_slice(&[0xff, 2]),
        }
        address[15] = pick(random, &[1, 2]);
        frame.extend(address);
    }
    if fragmented {
        frame.extend([protocol, 0, 0, 1, 0, 0, 0, 9]);
    }
    transport(random, frame, protocol);
}

fn transport(random: &mut Random, frame: &mut Vec<u8>, protocol: u8) {
    if matches!(protocol, 1 | 58) {
        let kind = pick(random, &[0, 3, 8, 128, 135]);
        return frame.extend([kind, 0, 0, 0, 0, 1, 0, 1]);
    }
    for _ in 0..2 {
        frame.extend(u16::to_be_bytes(pick(random, &[53, 80, 443, 60, 40_000])));
    }
    if protocol == 6 {
        let flags = pick(random, &[2, 0x12, 0x10, 0x11]);
        frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0]);
    }
}

fn arp(random: &mut Random, frame: &mut Vec<u8>) {
    let operation = pick(random, &[1, 2]);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    for _ in 0..2 {
        frame.extend([2, 0, 0x5e, 0, 0x53, 1]);
        frame.extend(address(random));
    }
}
