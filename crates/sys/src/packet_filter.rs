//! The kernel's own sieve in front of a packet socket (socket filters, filter.rst): a device that
//! also serves its host shows a packet socket everything it receives, and copying what nobody asked
//! for would cost the host's own traffic dearly.
//!
//! The sieve saves work and is not the judge: whoever reads the socket looks at each frame again.

use std::io;
use std::os::fd::BorrowedFd;

use crate::filter::{self, Instruction};

/// Most addresses of one filter: five instructions each, of the 4096 that the kernel takes
/// (`BPF_MAXINSNS`), in the 20 KiB that net.core.optmem_max allows by default.
pub const ADDRESSES_MAX: usize = 256;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;

/// Where a filter reads the packet's type instead of its bytes (`SKF_AD_OFF + SKF_AD_PKTTYPE`,
/// linux/filter.h), and the type of what is for the device's own address.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();
const FOR_THE_HOST: u32 = 0;

const fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A program that passes group addresses (the I/G bit) and these destinations.
fn program(addresses: &[[u8; 6]]) -> Vec<Instruction> {
    let all = step(RETURN, u32::MAX);
    let none = step(RETURN, 0);
    let mut program = vec![
        step(LOAD_BYTE, 0),
        step(AND, 1),
        // The bit is not set: over the next instruction.
        Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: 0 },
        all,
        // X: the first two bytes; A: the last four.
        step(LOAD_HALF, 0),
        step(TAX, 0),
        step(LOAD_WORD, 2),
    ];
    for [a, b, c, d, e, f] in addresses {
        let low = u32::from_be_bytes([*c, *d, *e, *f]);
        let high = u32::from(u16::from_be_bytes([*a, *b]));
        program.extend([
            // The last four bytes differ: to the next address.
            Instruction { code: JUMP_EQUAL, jt: 0, jf: 4, k: low },
            step(TXA, 0),
            Instruction { code: JUMP_EQUAL, jt: 0, jf: 1, k: high },
            all,
            step(LOAD_WORD, 2),
        ]);
    }
    program.push(none);
    program
}

/// A program that passes everything but what is for the device's own address.
fn foreign() -> Vec<Instruction> {
    vec![
        step(LOAD_BYTE, PACKET_TYPE),
        Instruction { code: JUMP_EQUAL, jt: 0, jf: 1, k: FOR_THE_HOST },
        step(RETURN, 0),
        step(RETURN, u32::MAX),
    ]
}

/// From now on the socket is shown frames to group addresses and to these; where they are more than
/// [`ADDRESSES_MAX`] or the kernel has no room for so many, everything but the host's own. The old
/// filter is replaced in one step. True when nothing else is shown.
///
/// # Errors
/// EPERM when the filter was locked, ENOMEM.
pub fn attach(socket: BorrowedFd<'_>, addresses: &[[u8; 6]]) -> io::Result<bool> {
    if addresses.len() <= ADDRESSES_MAX && filter::attach(socket, &program(addresses)).is_ok() {
        return Ok(true);
    }
    filter::attach(socket, &foreign()).map(|()| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does (the instructions that are used here).
    fn shown(program: &[Instruction], packet: &[u8], for_the_host: bool) -> bool {
        let (mut a, mut x, mut pc) = (0_u32, 0_u32, 0_usize);
        loop {
            let Instruction { code, jt, jf, k } = program[pc];
            pc += 1;
            let at = k as usize;
            match code {
                LOAD_BYTE if k == PACKET_TYPE => a = if for_the_host { FOR_THE_HOST } else { 3 },
                LOAD_BYTE => a = packet[at].into(),
                LOAD_HALF => a = u16::from_be_bytes([packet[at], packet[at + 1]]).into(),
                LOAD_WORD => a = u32::from_be_bytes(*packet[at..].first_chunk().unwrap()),
                AND => a &= k,
                TAX => x = a,
                TXA => a = x,
                JUMP_EQUAL => pc += usize::from(if a == k { jt } else { jf }),
                RETURN => return k != 0,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn groups_and_the_named_addresses_pass() {
        let mine: Vec<[u8; 6]> =
            (0..ADDRESSES_MAX).map(|i| [2, 0, 0, 0, (i >> 8) as u8, i as u8]).collect();
        for known in [&mine[..], &mine[..1], &[]] {
            let program = program(known);
            assert!(program.len() <= 4096);
            for address in &mine {
                assert_eq!(shown(&program, address, false), known.contains(address));
            }
            assert!(shown(&program, &[0xff; 6], false));
            assert!(shown(&program, &[0x33, 0x33, 0, 0, 0, 1], false));
            // Half of a named address is another one's.
            assert!(!shown(&program, &[2, 1, 0, 0, 0, 0], false));
            assert!(!shown(&program, &[4, 0, 0, 0, 0, 0], false));
            assert!(!shown(&program, &[0; 6], true));
        }
    }

    #[test]
    fn with_more_addresses_all_but_the_hosts_passes() {
        assert!(shown(&foreign(), &[2; 6], false));
        assert!(!shown(&foreign(), &[2; 6], true));
    }

    #[test]
    fn the_kernel_takes_the_programs() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for count in [0, 1, ADDRESSES_MAX, ADDRESSES_MAX + 1] {
            attach(socket.as_fd(), &vec![[2; 6]; count]).expect("a good program");
        }
    }
}
