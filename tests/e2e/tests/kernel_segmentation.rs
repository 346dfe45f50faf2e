//! Segmentation and checksum completion against the running kernel, byte for byte.
//!
//! In a network namespace of its own the test makes two taps on a bridge: what is written into the
//! first, with a vnet header, leaves through the second, which takes no offloads. So the kernel has
//! to complete and to cut it, and what it wrote is compared with what `wire` writes.
//!
//! The namespace is made by running this program again under `unshare`; as root without a user
//! namespace, as an ordinary user with one.
#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;

use e2e::{need, skip};
use sys::tap::{self, TapOffloads};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::ipv6::extension;
use wire::tcp::flag;
use wire::{
    Gso, GsoKind, HEADER_MAX, MacAddr, Offload, Segmenter, Tag, VNET_HDR_LEN, checksum, vnet,
};

/// Set in the environment of the run inside the namespace.
const INSIDE: &str = "NETHERD_TEST_INSIDE_NAMESPACE";

/// How long the kernel may take for one frame, in milliseconds.
const PATIENCE: u32 = 5_000;

/// Runs the test `name` of this program inside fresh namespaces. `true` means that this is the run
/// inside, and the test goes on.
fn inside(name: &str) -> Result<bool, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    skip::program("ip")?;
    let unshare = skip::program("unshare")?;
    tap::open_device().map_err(|error| format!("/dev/net/tun cannot be opened: {error}"))?;
    let mut namespaces = vec!["--net"];
    if skip::root().is_err() {
        namespaces.extend(["--user", "--map-root-user"]);
    }
    let possible = Command::new(&unshare).args(&namespaces).arg("true").output();
    let possible = possible.map_err(|error| format!("unshare does not run: {error}"))?;
    if !possible.status.success() {
        let why = String::from_utf8_lossy(&possible.stderr).trim().to_owned();
        return Err(format!("no network namespace can be made here: {why}"));
    }
    let status = Command::new(&unshare)
        .args(&namespaces)
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs, as it just did");
    assert!(status.success(), "the run inside the namespace failed, see above: {status}");
    Ok(false)
}

fn ip(arguments: &str) {
    let said = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
    assert!(said.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&said.stderr));
}

/// Two taps on a bridge.
struct Bridge {
    enter: tap::Tap,
    leave: tap::Tap,
}

impl Bridge {
    fn new() -> Self {
        // No router solicitations or MLD reports between our frames.
        for scope in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
            if std::path::Path::new(&path).exists() {
                std::fs::write(&path, "1").expect("a namespace's own settings are writable");
            }
        }
        let enter = tap::open("enter").expect("a tap in our own namespace");
        let leave = tap::open("leave").expect("a tap in our own namespace");
        tap::set_offloads(leave.fd.as_fd(), TapOffloads::NONE).expect("the empty set is taken");
        ip("link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        for name in ["enter", "leave"] {
            ip(&format!("link set {name} master bridge"));
            ip(&format!("link set {name} up"));
        }
        ip("link set bridge up");
        let bridge = Self { enter, leave };
        // The ports forward when the bridge says so; what was sent before is lost.
        let probe = plain_udp();
        e2e::until("the bridge forwards", || {
            bridge.write(&Offload::NONE, &probe);
            bridge.read(100)
        });
        while bridge.read(100).is_some() {}
        bridge
    }

    fn write(&self, offload: &Offload, frame: &[u8]) {
        let mut header = [0; VNET_HDR_LEN];
        vnet::encode(offload, frame, &mut header);
        let pieces = [IoSlice::new(&header), IoSlice::new(frame)];
        let written = tap::write_frame(self.enter.fd.as_fd(), &pieces);
        let written = written.unwrap_or_else(|error| panic!("{offload:?} is refused: {error}"));
        assert_eq!(written, VNET_HDR_LEN + frame.len());
    }

    /// The next frame that leaves, within so many milliseconds.
    fn read(&self, patience: u32) -> Option<Vec<u8>> {
        let fd: BorrowedFd<'_> = self.leave.fd.as_fd();
        let ready = sys::process::poll(&[fd], Some(patience)).expect("poll of one descriptor");
        if !ready[0] {
            return None;
        }
        let (mut header, mut frame) = ([0; VNET_HDR_LEN], vec![0; 70_000]);
        let len = tap::read_frame(fd, &mut header, &mut frame).expect("a frame is ready");
        frame.truncate(len);
        let offload = vnet::decode(&header).expect("the kernel's header is one we know");
        assert_eq!(offload, Offload::NONE, "the second tap takes no offloads");
        Some(frame)
    }

    /// Sends a frame and holds what the kernel made of it against `ours`.
    fn compare(&self, what: &str, offload: &Offload, frame: &[u8], ours: &[Vec<u8>]) {
        self.write(offload, frame);
        for (index, ours) in ours.iter().enumerate() {
            let kernels = self.read(PATIENCE).unwrap_or_else(|| {
                panic!("{what}: the kernel sent {index} frames, we {} of {offload:?}", ours.len())
            });
            if kernels != *ours {
                let at = kernels.iter().zip(ours).position(|(a, b)| a != b);
                let (a, b) = (&kernels[..kernels.len().min(160)], &ours[..ours.len().min(160)]);
                panic!(
                    "{what}, {offload:?}, frame {index}: lengths {} and {}, first difference at \
                     {at:?}\nkernel {a:02x?}\nours   {b:02x?}",
                    kernels.len(),
                    ours.len()
                );
            }
        }
    }

    fn nothing_more(&self) {
        assert_eq!(self.read(50), None, "the kernel sent more frames than we");
    }
}

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).expect("the bounds here are small")
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn word(&mut self) -> u16 {
        let bytes = self.next().to_le_bytes();
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
}

/// What a frame is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    V4,
    V6,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carried {
    Tcp,
    Udp,
}

fn ethernet(out: &mut [u8]) -> Builder<'_> {
    Builder::new(out).ethernet(MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1]))
}

fn plain_udp() -> Vec<u8> {
    let mut out = vec![0; 128];
    let len = ethernet(&mut out).ipv4(&Ipv4::default()).udp(9, 9).payload(&[0; 20]).finish();
    out.truncate(len.expect("it fits"));
    out
}

/// A frame with a partial checksum and everything in its headers that segmentation must keep or
/// change.
fn partial(
    numbers: &mut Numbers,
    over: Over,
    carried: Carried,
    payload: usize,
) -> (Vec<u8>, Offload) {
    let mut out = vec![0; payload + 512];
    let payload = numbers.bytes(payload);
    let mut frame = ethernet(&mut out);
    if numbers.below(4) == 0 {
        frame = frame.tag(Tag { tpid: 0x8100, tci: numbers.word() & 0xefff | 1 });
    }
    frame = match over {
        Over::V4 => {
            let padding = [1; 40];
            let options = numbers.below(4) * 4;
            frame.ipv4(&Ipv4 {
                source: Ipv4Addr::from(0x0a00_0000 | u32::from(numbers.word())),
                traffic_class: numbers.bytes(1)[0],
                id: numbers.word(),
                fragment: if numbers.coin() { 0x4000 } else { 0 },
                options: &padding[..options],
                ..Ipv4::default()
            })
        }
        Over::V6 => {
            let mut frame = frame.ipv6(&Ipv6 {
                source: Ipv6Addr::from(0xfd00 << 112 | u128::from(numbers.next())),
                traffic_class: numbers.bytes(1)[0],
                flow_label: u32::from(numbers.word()),
                ..Ipv6::default()
            });
            // Length 1, that is 16 bytes, filled with Pad1.
            let body = [&[1][..], &[0; 14]].concat();
            for kind in [extension::HOP_BY_HOP, extension::DESTINATION] {
                if numbers.below(3) == 0 {
                    frame = frame.extension(kind, &body);
                }
            }
            frame
        }
    };
    frame = match carried {
        Carried::Tcp => {
            let nops = [1; 40];
            let options = numbers.below(11) * 4;
            let odd = numbers.bytes(1)[0];
            frame.tcp(&Tcp {
                source: numbers.word(),
                sequence: u32::MAX - u32::from(numbers.word()),
                flags: flag::ACK
                    | odd & (flag::FIN | flag::PSH | flag::CWR | flag::ECE | flag::URG),
                urgent: numbers.word(),
                options: &nops[..options],
                ..Tcp::default()
            })
        }
        Carried::Udp => frame.udp(numbers.word() | 1, numbers.word() | 1),
    };
    let (len, checksum) = frame.payload(&payload).finish_partial().expect("it fits");
    out.truncate(len);
    (out, Offload { checksum: Some(checksum), gso: None })
}

fn cut(numbers: &mut Numbers, offload: &Offload, frame: &[u8]) -> Vec<Vec<u8>> {
    let (a, b) = frame.split_at(numbers.below(frame.len() as u64 + 1));
    let mut segmenter = Segmenter::new(offload, &[a, b]).expect("a frame to be cut");
    let mut out = [0; HEADER_MAX];
    let mut segments = Vec::new();
    while let Some(segment) = segmenter.next(&[a, b], &mut out) {
        segments.push([&out[..segment.header_len], &frame[segment.payload]].concat());
    }
    segments
}

fn completed(offload: &Offload, frame: &[u8]) -> Vec<u8> {
    let mut out = [0; HEADER_MAX];
    let front = checksum::complete(offload, &[frame, &[]], &mut out).expect("a partial checksum");
    [&out[..front], &frame[front..]].concat()
}

fn gso_kind(over: Over, carried: Carried) -> GsoKind {
    match (over, carried) {
        (Over::V4, Carried::Tcp) => GsoKind::Tcp4,
        (Over::V6, Carried::Tcp) => GsoKind::Tcp6,
        (_, Carried::Udp) => GsoKind::Udp,
    }
}

#[test]
fn the_kernel_cuts_and_completes_as_we_do() {
    let name = "the_kernel_cuts_and_completes_as_we_do";
    if !need!(inside(name)) {
        return;
    }
    let bridge = Bridge::new();
    let uso = bridge.enter.offloads.contains(TapOffloads::USO);
    let mut numbers = Numbers(1);
    let mut count = 0;
    for round in 0..100 {
        for over in [Over::V4, Over::V6] {
            for carried in [Carried::Tcp, Carried::Udp] {
                let what = format!("round {round}, {carried:?} over {over:?}");
                let len = numbers.below(1200);
                let (frame, offload) = partial(&mut numbers, over, carried, len);
                let ours = [completed(&offload, &frame)];
                bridge.compare(&what, &offload, &frame, &ours);
                if carried == Carried::Udp && !uso {
                    continue;
                }
                let (len, size) = if round == 0 {
                    (64_000, 1_400)
                } else {
                    // Few enough that the tap's queue holds them: 500 frames.
                    let size = 8 + numbers.below(1300);
                    (size + 1 + numbers.below(60.min(60_000 / size as u64) * size as u64), size)
                };
                let (frame, mut offload) = partial(&mut numbers, over, carried, len);
                offload.gso = Some(Gso {
                    kind: gso_kind(over, carried),
                    size: u16::try_from(size).expect("a size below 1500"),
                    ecn: false,
                });
                let ours = cut(&mut numbers, &offload, &frame);
                count += ours.len();
                bridge.compare(&what, &offload, &frame, &ours);
            }
        }
    }
    bridge.nothing_more();
    assert!(count > 2_000, "only {count} segments were compared");
    if !uso {
        skip!("this kernel has no UDP segmentation on taps (Linux 6.2): TCP alone was compared");
    }
}

#[test]
fn the_ecn_mark_keeps_cwr_where_the_kernel_keeps_it() {
    if !need!(inside("the_ecn_mark_keeps_cwr_where_the_kernel_keeps_it")) {
        return;
    }
    let bridge = Bridge::new();
    let mut numbers = Numbers(2);
    for ecn in [false, true] {
        for (over, kind) in [(Over::V4, GsoKind::Tcp4), (Over::V6, GsoKind::Tcp6)] {
            for _ in 0..20 {
                let (frame, mut offload) = partial(&mut numbers, over, Carried::Tcp, 3_500);
                offload.gso = Some(Gso { kind, size: 1_000, ecn });
                let ours = cut(&mut numbers, &offload, &frame);
                bridge.compare("ecn", &offload, &frame, &ours);
            }
        }
    }
    bridge.nothing_more();
}

/// A guest that wrote a wrong pseudo header sum gets the kernel's wrong checksum from us as well:
/// the field is what counts, as it must where the pseudo header's destination is not the packet's.
#[test]
fn the_partial_sum_in_the_frame_is_what_counts() {
    if !need!(inside("the_partial_sum_in_the_frame_is_what_counts")) {
        return;
    }
    let bridge = Bridge::new();
    let mut numbers = Numbers(3);
    for (over, kind) in [(Over::V4, GsoKind::Tcp4), (Over::V6, GsoKind::Tcp6)] {
        for _ in 0..20 {
            let (mut frame, mut offload) = partial(&mut numbers, over, Carried::Tcp, 2_500);
            let field = offload.checksum.expect("a partial checksum").field();
            frame[field..field + 2].copy_from_slice(&numbers.word().to_be_bytes());
            offload.gso = Some(Gso { kind, size: 1_000, ecn: false });
            let ours = cut(&mut numbers, &offload, &frame);
            bridge.compare("a wrong sum", &offload, &frame, &ours);
        }
    }
    bridge.nothing_more();
}

/// Zero is written as 0xffff in a completed checksum of either protocol, and in a UDP segment; in a
/// TCP segment it stays.
#[test]
fn a_checksum_of_zero() {
    if !need!(inside("a_checksum_of_zero")) {
        return;
    }
    let bridge = Bridge::new();
    let uso = bridge.enter.offloads.contains(TapOffloads::USO);
    let mut numbers = Numbers(4);
    for (over, carried) in [
        (Over::V4, Carried::Tcp),
        (Over::V6, Carried::Tcp),
        (Over::V4, Carried::Udp),
        (Over::V6, Carried::Udp),
    ] {
        let (frame, offload) = partial(&mut numbers, over, carried, 1_000);
        let at = frame.len() - 1_000;
        let field = offload.checksum.expect("a partial checksum").field();
        // The first payload word takes what is missing to a sum of 0xffff.
        let balance = |frame: &mut Vec<u8>, ours: &dyn Fn(&[u8]) -> Vec<u8>| {
            frame[at..at + 2].fill(0);
            let rest = [ours(frame)[field], ours(frame)[field + 1]];
            frame[at..at + 2].copy_from_slice(&rest);
            ours(frame)
        };
        let mut whole = frame.clone();
        let ours = balance(&mut whole, &|frame| completed(&offload, frame));
        assert_eq!(ours[field..field + 2], [0xff, 0xff]);
        bridge.compare("completed", &offload, &whole, &[ours]);
        if carried == Carried::Udp && !uso {
            continue;
        }
        let gso = Some(Gso { kind: gso_kind(over, carried), size: 600, ecn: false });
        let offload = Offload { gso, ..offload };
        let mut large = frame;
        let first = |frame: &[u8]| {
            let mut out = [0; HEADER_MAX];
            let mut segmenter = Segmenter::new(&offload, &[frame, &[]]).expect("to be cut");
            let segment = segmenter.next(&[frame, &[]], &mut out).expect("a first segment");
            out[..segment.header_len].to_vec()
        };
        let ours = balance(&mut large, &first);
        let zero = if carried == Carried::Tcp { [0, 0] } else { [0xff, 0xff] };
        assert_eq!(ours[field..field + 2], zero);
        let ours = cut(&mut numbers, &offload, &large);
        bridge.compare("cut", &offload, &large, &ours);
    }
    bridge.nothing_more();
    if !uso {
        skip!("this kernel has no UDP segmentation on taps (Linux 6.2): TCP alone was compared");
    }
}
