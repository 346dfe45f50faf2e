//! Packet filters beside two others who run them: tcpdump's compiler and the kernel's machine.
#![forbid(unsafe_code)]

#[path = "filters/expressions.rs"]
mod expressions;
#[path = "filters/frames.rs"]
mod frames;

use std::io;
use std::os::fd::AsFd;
use std::process::Command;

use bpf::expression::{Options, compile};
use bpf::instruction::*;
use bpf::{Instruction, Program};
use e2e::{need, skip};
use sys::unix::SocketKind;
use testkit::Random;

/// tcpdump's program for an expression; `None` if it refuses it.
fn tcpdumps(tcpdump: &std::path::Path, expression: &str) -> Option<Program> {
    let output = Command::new(tcpdump)
        .args(["-y", "EN10MB", "-ddd", expression])
        .output()
        .expect("tcpdump was found");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).expect("numbers");
    let instructions = from_decimal(&text).expect("tcpdump prints programs");
    Some(Program::new(&instructions).expect("tcpdump's programs are valid"))
}

#[test]
fn expressions_mean_what_tcpdump_means() {
    let tcpdump = need!(skip::program("tcpdump"));
    let mut random = Random::new(2026);
    let (mut compared, mut wanted, mut verdicts) = (0, 0usize, 0usize);
    let (mut ours_longer, mut instructions) = (0, 0);
    while compared < 2_200 {
        let expression = expressions::expression(&mut random);
        let Some(theirs) = tcpdumps(&tcpdump, &expression) else {
            // It refuses what can never match, and calls that an error of the expression.
            continue;
        };
        let ours = compile(&expression, &Options { netmask: Some(0), ..Options::default() })
            .unwrap_or_else(|e| panic!("{e}\n{}", e.excerpt(&expression)));
        compared += 1;
        instructions += ours.instructions().len();
        ours_longer += usize::from(ours.instructions().len() > theirs.instructions().len());
        for _ in 0..80 {
            let frame = frames::whole(&mut random);
            let (our, their) = (ours.run(&frame[..]), theirs.run(&frame[..]));
            assert_eq!(
                our != 0,
                their != 0,
                "{expression}\n{frame:02x?}\n{}\n{}",
                listed(&ours),
                listed(&theirs)
            );
            verdicts += 1;
            wanted += usize::from(our != 0);
        }
    }
    // The comparison says something only if both answers are common.
    assert!(wanted * 10 > verdicts && wanted * 10 < verdicts * 9, "{wanted} of {verdicts}");
    println!(
        "{compared} expressions, {verdicts} frames, {wanted} wanted; {instructions} instructions, \
         {ours_longer} programs longer than tcpdump's"
    );
}

/// The words of pcap-filter(7) for what Ethernet carries, each alone: nothing is left to chance.
#[test]
fn every_word_means_what_tcpdump_means() {
    let tcpdump = need!(skip::program("tcpdump"));
    let mut random = Random::new(3);
    let frames: Vec<Vec<u8>> = (0..4_000).map(|_| frames::whole(&mut random)).collect();
    for expression in expressions::words() {
        let theirs = tcpdumps(&tcpdump, expression)
            .unwrap_or_else(|| panic!("tcpdump does not take {expression}"));
        let ours = compile(expression, &Options { netmask: Some(0), ..Options::default() })
            .unwrap_or_else(|e| panic!("{e}\n{}", e.excerpt(expression)));
        let mut wanted = 0;
        for frame in &frames {
            let (our, their) = (ours.run(&frame[..]) != 0, theirs.run(&frame[..]) != 0);
            assert_eq!(our, their, "{expression}\n{frame:02x?}\n{}", listed(&ours));
            wanted += usize::from(our);
        }
        assert!((1..frames.len()).contains(&wanted), "{expression}: {wanted} frames");
    }
}

#[test]
fn what_tcpdump_refuses_is_refused() {
    let tcpdump = need!(skip::program("tcpdump"));
    for expression in [
        "tcp and",
        "(tcp",
        "tcp)",
        "ip[0]",
        "ip[0:3] = 1",
        "net 10.1.2.3/8",
        "vlan 5000",
        "mpls and vlan",
        "mpls and arp",
        "src proto 6",
        "tcp host 10.0.0.1",
        "port tcp",
        "host 02:00:5e:00:53:01",
        "arp proto 6",
        "tcp net 10",
        "ip6 host 10.0.0.1",
        "ip host 2001:db8::1",
        "ah[0] = 1",
        "portrange 1-70000",
        "len / 0 = 1",
        "less",
        "ether",
        "pppoes 70000",
        "mpls 1048576",
        "ip6 broadcast",
        "arp multicast",
        "tcp port 80 and not",
        "llc nosuch",
        "llc (i)",
        "pppoes and llc i",
        "mpls and l1",
        "isis l1",
        "iso proto \\tcp",
        "isis proto \\isis",
        "ether proto \\nosuch",
        "radio[0] = 1",
        "rnr 5",
        "oamf4s",
        "net 256.1.1.1",
        "ether host 1.2.3",
        "ether host 1:2:3:4:5",
        "vlan -1",
        "less (100)",
        "()",
        "tcp port 80 90",
        "atalk host 10.0.0.1",
        "mpls and decnet host 1.2",
    ] {
        assert!(tcpdumps(&tcpdump, expression).is_none(), "tcpdump takes {expression}");
        assert!(compile(expression, &Options::default()).is_err(), "{expression}");
    }
}

fn listed(program: &Program) -> String {
    let mut text = String::new();
    listing(program.instructions(), &mut text).expect("a string takes everything");
    text
}

/// What the kernel keeps of a packet: `None` if it does not take the program.
struct Kernel {
    ends: (std::os::fd::OwnedFd, std::os::fd::OwnedFd),
}

impl Kernel {
    fn new() -> io::Result<Self> {
        Ok(Self { ends: sys::unix::pair(SocketKind::Datagram, true)? })
    }

    fn attach(&self, program: &[Instruction]) -> io::Result<()> {
        let program: Vec<sys::filter::Instruction> = program
            .iter()
            .map(|&Instruction { code, jt, jf, k }| sys::filter::Instruction { code, jt, jf, k })
            .collect();
        sys::filter::attach(self.ends.1.as_fd(), &program)
    }

    /// Bytes that are kept.
    fn run(&self, packet: &[u8]) -> usize {
        // A packet that the filter refuses is an error of sending, or is silently gone.
        let _refused = rustix::io::write(&self.ends.0, packet);
        let mut kept = [0; 256];
        rustix::io::read(&self.ends.1, &mut kept).unwrap_or(0)
    }
}

/// A program that mostly makes sense, and packets that mostly reach its loads.
fn program(random: &mut Random) -> Vec<Instruction> {
    let loads = [
        LD | W | ABS,
        LD | H | ABS,
        LD | B | ABS,
        LD | W | IND,
        LD | H | IND,
        LD | B | IND,
        LD | IMM,
        LD | LEN,
        LDX | IMM,
        LDX | LEN,
        LDX | B | MSH,
    ];
    let mut program = Vec::new();
    // The kernel wants memory to be written before it is read.
    for word in 0..4 {
        program.push(Instruction::new(ST, word));
    }
    for _ in 0..random.below(24) {
        let small = random.below(24) as u32;
        let any = if random.one_in(4) { random.next_u64() as u32 } else { small };
        let source = if random.one_in(2) { X } else { K };
        program.push(match random.below(10) {
            0..=2 => Instruction::new(loads[random.below(loads.len())], small),
            3 => Instruction::new([LD | MEM, LDX | MEM, ST, STX][random.below(4)], small % 4),
            4 | 5 => {
                let how = (random.below(11) as u16) << 4;
                match how {
                    NEG => Instruction::new(ALU | NEG, 0),
                    LSH | RSH => Instruction::new(ALU | how | source, small % 32),
                    DIV | MOD => Instruction::new(ALU | how | source, any.max(1)),
                    _ => Instruction::new(ALU | how | source, any),
                }
            }
            6 => Instruction::new(MISC | if random.one_in(2) { TAX } else { TXA }, 0),
            7 | 8 => {
                let how = (1 + random.below(4) as u16) << 4;
                let (jt, jf) = (random.below(3) as u8, random.below(3) as u8);
                Instruction::jump(JMP | how | source, any, jt, jf)
            }
            _ => Instruction::new(RET | if random.one_in(3) { A } else { K }, small * 4),
        });
    }
    program.push(Instruction::new(RET | A, 0));
    program.push(Instruction::new(RET | K, 64));
    program.push(Instruction::new(RET | K, 0));
    program
}

#[test]
fn programs_say_what_the_kernels_machine_says() {
    let mut random = Random::new(7);
    let kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(e) => skip!("no pair of sockets can be made: {e}"),
    };
    let (mut taken, mut kept) = (0, 0);
    while taken < 3_000 {
        let instructions = program(&mut random);
        let ours = Program::new(&instructions);
        match kernel.attach(&instructions) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(12) => skip!("no memory for a filter: {e}"),
            // It refuses more than we do: code that cannot be reached, for one.
            Err(_) => continue,
        }
        let ours = ours.unwrap_or_else(|e| panic!("the kernel takes what is refused: {e}"));
        taken += 1;
        for _ in 0..8 {
            let mut packet = vec![0; 1 + random.below(64)];
            random.fill(&mut packet);
            let says = packet.len().min(ours.run(&packet[..]) as usize);
            assert_eq!(kernel.run(&packet), says, "{packet:02x?}\n{}", listed(&ours));
            kept += usize::from(says > 0);
        }
    }
    assert!(kept > taken, "{kept} packets kept in {taken} programs");
}

#[test]
fn compiled_expressions_are_taken_by_the_kernel() {
    let kernel = Kernel::new().expect("a pair of sockets");
    let mut random = Random::new(11);
    let mut taken = 0;
    while taken < 500 {
        let expression = expressions::expression(&mut random);
        let Ok(program) = compile(&expression, &Options::default()) else { continue };
        kernel
            .attach(program.instructions())
            .unwrap_or_else(|e| panic!("{e}: {expression}\n{}", listed(&program)));
        let frame = frames::cut(&mut random);
        if !frame.is_empty() && frame.len() < 256 {
            let says = frame.len().min(program.run(&frame[..]) as usize);
            assert_eq!(kernel.run(&frame), says, "{expression}");
        }
        taken += 1;
    }
}
