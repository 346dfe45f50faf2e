use std::io::Read;
use std::os::fd::OwnedFd;

use engine::{NetworkPlan, NetworkSpec, Pool, PoolLimits, PortPlan, PortSpec, RxBatch};
use pcap_parser::Block;
use pcap_parser::pcapng::{PcapNGOption, parse_pcapng};
use wire::Offload;

use super::*;

struct Stage {
    engine: Engine,
    pool: Pool,
    ports: Vec<PortId>,
    captures: Captures,
}

impl Stage {
    fn new(ports: usize) -> Self {
        Self::with((0..ports).map(|_| PortSpec::default()))
    }

    fn with(ports: impl Iterator<Item = PortSpec>) -> Self {
        let plan = NetworkPlan::validate(NetworkSpec::default()).expect("valid");
        let mut engine = Engine::new(plan.clone(), [7; 16]);
        let add = |spec| {
            let spec = PortPlan::validate(spec, &plan).expect("valid");
            engine.add_port(spec).expect("room")
        };
        let ports = ports.map(add).collect();
        let pool = Pool::new(PoolLimits { small: 64, large: 2, headers: 64 });
        Self { engine, pool, ports, captures: Captures::default() }
    }

    fn start(&mut self, port: Option<usize>, snaplen: u32) -> (CaptureId, OwnedFd) {
        let port = port.map(|index| self.ports[index]);
        self.start_as(Wish { port, snaplen, ..Wish::default() })
    }

    fn start_as(&mut self, wish: Wish) -> (CaptureId, OwnedFd) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let network = "lab".parse().expect("a name");
        let id = self
            .captures
            .start(&mut self.engine, at(0), &network, wish, writer.into())
            .expect("room for a capture");
        (id, reader.into())
    }

    /// A frame from one station to another; station 9 is unknown.
    fn send(&mut self, port: usize, from: u8, to: u8) {
        let mut frame = vec![0; 64];
        frame[..6].copy_from_slice(&station(to).0);
        frame[6..12].copy_from_slice(&station(from).0);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let mut batch = RxBatch::default();
        let frame = self.pool.copy_in(&frame, Offload::default()).expect("room");
        assert!(batch.push(frame).is_ok());
        self.engine.ingress(at(1_000), &mut self.pool, self.ports[port], &mut batch);
        let names: Vec<PortId> = self.ports.clone();
        let records = self.captures.take(&mut self.engine);
        self.captures.offer(&self.engine, records, &|id| Described {
            name: format!("port-{}", names.iter().position(|it| *it == id).unwrap_or(99)),
            about: "stream".to_owned(),
            mac: None,
        });
    }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn station(number: u8) -> MacAddr {
    if number == 255 { MacAddr::BROADCAST } else { MacAddr([2, 0, 0, 0, 0, number]) }
}

fn read(from: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::from(from).read_to_end(&mut bytes).expect("a pipe");
    bytes
}

fn option(options: &[PcapNGOption<'_>], code: u16) -> Option<Vec<u8>> {
    let found = options.iter().find(|option| option.code.0 == code)?;
    Some(found.value[..usize::from(found.len)].to_vec())
}

#[derive(Debug, PartialEq)]
struct Shown {
    interface: u32,
    caplen: u32,
    len: u32,
    flags: u32,
    verdict: Vec<u8>,
    comment: String,
}

/// Interfaces' names, frames, and (received, lost) of each interface.
fn parsed(bytes: &[u8]) -> (Vec<String>, Vec<Shown>, Vec<(u64, u64)>) {
    let (rest, capture) = parse_pcapng(bytes).expect("a pcapng file");
    assert!(rest.is_empty());
    let (mut names, mut frames, mut statistics) = (Vec::new(), Vec::new(), Vec::new());
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("present")).expect("text");
    let number = |bytes: Option<Vec<u8>>| {
        u64::from_le_bytes(bytes.expect("present").try_into().expect("8 bytes"))
    };
    for block in capture.sections.iter().flat_map(|section| &section.blocks) {
        match block {
            Block::InterfaceDescription(it) => {
                assert_eq!(it.if_tsresol, 9);
                names.push(text(option(&it.options, 2)));
            }
            Block::EnhancedPacket(it) => frames.push(Shown {
                interface: it.if_id,
                caplen: it.caplen,
                len: it.origlen,
                flags: u32::from_le_bytes(
                    option(&it.options, 2).expect("present").try_into().expect("4 bytes"),
                ),
                verdict: option(&it.options, 7).expect("present"),
                comment: text(option(&it.options, 1)),
            }),
            Block::InterfaceStatistics(it) => {
                statistics.push((number(option(&it.options, 4)), number(option(&it.options, 5))));
            }
            Block::SectionHeader(it) => {
                assert_eq!((it.major_version, it.minor_version), (1, 0));
            }
            other => panic!("an unexpected block: {other:?}"),
        }
    }
    (names, frames, statistics)
}

#[test]
fn frames_are_shown_once_with_their_verdicts() {
    let mut stage = Stage::new(3);
    let (id, out) = stage.start(None, SNAPLEN_MAX);
    stage.send(0, 1, 255);
    stage.send(1, 2, 1);
    stage.send(1, 2, 2);
    stage.captures.stop(&mut stage.engine, id);
    let (names, frames, statistics) = parsed(&read(out));
    assert_eq!(names, ["port-0", "port-1"]);
    let same_port = engine::Reason::SamePort;
    let shown = |interface, reception: u32, verdict: [u8; 2], comment: &str| Shown {
        interface,
        caplen: 64,
        len: 64,
        flags: 1 | reception << 2,
        verdict: vec![0, verdict[0], verdict[1]],
        comment: comment.to_owned(),
    };
    assert_eq!(
        frames,
        [
            shown(0, 3, [1, 0], "flooded to 2 ports"),
            shown(1, 1, [0, 0], "forwarded to port-0"),
            shown(
                1,
                1,
                [2, same_port as u8],
                &format!("dropped: same-port (check 52): {}", same_port.describe())
            ),
        ]
    );
    assert_eq!(statistics, [(1, 0), (2, 0)]);
}

#[test]
fn a_frame_that_passed_under_audit_says_so() {
    let mut guard = engine::GuardSpec { mode: engine::GuardMode::Static, ..Default::default() };
    guard.actions.set_all(engine::Action::Audit);
    let guarded = PortSpec {
        guard,
        macs: vec![station(1)],
        source: engine::SourceMode::Static,
        ..PortSpec::default()
    };
    let mut stage = Stage::with([guarded, PortSpec::default()].into_iter());
    let (id, out) = stage.start(None, SNAPLEN_MAX);
    stage.send(1, 2, 1);
    stage.send(0, 1, 2);
    stage.captures.stop(&mut stage.engine, id);
    let (_, frames, _) = parsed(&read(out));
    let comments: Vec<&str> = frames.iter().map(|it| it.comment.as_str()).collect();
    let reason = engine::Reason::Ethertype;
    let check = reason.check().expect("a check of the guard");
    let why = format!("; audited: {} (check {check}): {}", reason.name(), reason.describe());
    assert_eq!(comments, ["forwarded to port-0", &format!("forwarded to port-1{why}")]);
    assert_eq!(frames[1].verdict, [0, 0, 0]);
}

#[test]
fn each_capture_has_its_filter() {
    let filter = |text: &str| {
        let options = bpf::expression::Options::default();
        Some(Arc::new(bpf::expression::compile(text, &options).expect("an expression")))
    };
    let mut stage = Stage::new(3);
    let wish = |filter| Wish { filter, snaplen: 20, ..Wish::default() };
    let to = |number: u8| filter(&format!("ether dst 02:00:00:00:00:0{number}"));
    let (first, out_first) = stage.start_as(wish(to(1)));
    stage.send(1, 2, 1);
    let (second, out_second) = stage.start_as(wish(to(2)));
    let (all, out_all) = stage.start_as(wish(None));
    stage.send(0, 1, 2);
    stage.send(2, 3, 255);
    // Taken from the engine and not yet shown when the first one ends and another one gets its place.
    let mut batch = RxBatch::default();
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&station(1).0);
    frame[6..12].copy_from_slice(&station(2).0);
    let frame = stage.pool.copy_in(&frame, Offload::default()).expect("room");
    assert!(batch.push(frame).is_ok());
    stage.engine.ingress(at(2_000), &mut stage.pool, stage.ports[1], &mut batch);
    stage.captures.stop(&mut stage.engine, first);
    let (third, out_third) = stage.start_as(wish(to(2)));
    stage.send(0, 1, 2);
    for id in [second, all, third] {
        stage.captures.stop(&mut stage.engine, id);
    }
    let count = |out| parsed(&read(out)).1.len();
    assert_eq!([count(out_first), count(out_second), count(out_all)], [1, 2, 4]);
    assert_eq!(count(out_third), 1, "nothing from before its start");
}

#[test]
fn captures_of_one_port_and_of_all_run_together() {
    let mut stage = Stage::new(3);
    let (one, out_one) = stage.start(Some(2), 20);
    let (all, out_all) = stage.start(None, SNAPLEN_MAX);
    stage.send(0, 1, 255);
    stage.send(1, 2, 1);
    stage.send(2, 3, 1);
    stage.send(1, 2, 3);
    for id in [one, all] {
        stage.captures.stop(&mut stage.engine, id);
    }
    let (_, frames, _) = parsed(&read(out_all));
    assert_eq!(frames.len(), 4);
    let (names, frames, _) = parsed(&read(out_one));
    assert_eq!(names, ["port-0", "port-2", "port-1"]);
    let comments: Vec<&str> = frames.iter().map(|it| it.comment.as_str()).collect();
    assert_eq!(comments, ["flooded to 2 ports", "forwarded to port-0", "forwarded to port-2"]);
    assert!(frames.iter().all(|it| (it.caplen, it.len) == (20, 64)));
    assert!(stage.captures.is_empty());
    // The engine keeps nothing for nobody.
    stage.send(0, 1, 255);
    assert_eq!(stage.engine.poll_capture(), None);
}

#[test]
fn a_reader_that_does_not_read_costs_its_own_frames() {
    let mut stage = Stage::new(2);
    let (id, out) = stage.start(None, SNAPLEN_MAX);
    // The pipe takes 64 KiB, the channel QUEUE_BYTES: far less than this.
    let frames: u64 = 60_000;
    for _ in 0..frames {
        stage.send(0, 1, 255);
    }
    let drops = stage.captures.drops();
    assert!(drops > 0, "the queue is bounded");
    stage.captures.stop(&mut stage.engine, id);
    assert_eq!(stage.captures.drops(), drops, "what ended captures lost stays counted");
    let (_, shown, statistics) = parsed(&read(out));
    let [(received, _)] = statistics.as_slice() else { panic!("one interface") };
    assert_eq!(*received, shown.len() as u64);
    assert_eq!(received + drops, frames);
}

#[test]
fn a_port_is_shown_the_floods_that_reach_it_and_no_others() {
    let access =
        |vlan, isolated| PortSpec { vlan: VlanMode::Access(vlan), isolated, ..PortSpec::default() };
    let trunk = PortSpec {
        vlan: VlanMode::Trunk { native: Some(1), allowed: [7].into_iter().collect() },
        ..PortSpec::default()
    };
    let ports = [
        access(1, false),
        access(1, false),
        access(7, false),
        trunk,
        access(1, true),
        access(1, true),
    ];
    let mut stage = Stage::with(ports.into_iter());
    // Two captures of different ports, so that the engine shows all frames.
    let captures: Vec<_> = (1..6).map(|port| stage.start(Some(port), SNAPLEN_MAX)).collect();
    stage.send(0, 1, 255);
    stage.send(2, 2, 255);
    stage.send(4, 3, 255);
    let mut shown = Vec::new();
    for (id, out) in captures {
        stage.captures.stop(&mut stage.engine, id);
        let (names, _, _) = parsed(&read(out));
        shown.push(names);
    }
    assert_eq!(
        shown,
        [
            vec!["port-0", "port-4"],
            vec!["port-2"],
            vec!["port-0", "port-2", "port-4"],
            vec!["port-0", "port-4"],
            vec!["port-0"],
        ]
    );
}

#[test]
fn frames_that_wait_when_another_capture_starts_are_shown() {
    let mut stage = Stage::new(2);
    let (first, out) = stage.start(None, SNAPLEN_MAX);
    let mut frame = vec![0xff; 64];
    frame[6..12].copy_from_slice(&station(1).0);
    let mut batch = RxBatch::default();
    let frame = stage.pool.copy_in(&frame, Offload::default()).expect("room");
    assert!(batch.push(frame).is_ok());
    stage.engine.ingress(at(1_000), &mut stage.pool, stage.ports[0], &mut batch);
    let (second, _out) = stage.start(None, SNAPLEN_MAX);
    stage.captures.stop(&mut stage.engine, second);
    stage.send(0, 1, 255);
    stage.captures.stop(&mut stage.engine, first);
    assert_eq!(parsed(&read(out)).1.len(), 2, "the one that waited, and the next");
}

#[test]
fn a_stopped_capture_counts_until_its_thread_has_ended() {
    let mut stage = Stage::new(2);
    let mut readers = Vec::new();
    for _ in 0..CAPTURES_MAX {
        let (id, out) = stage.start(None, SNAPLEN_MAX);
        // More than a pipe takes, so the thread waits for its reader.
        for _ in 0..1000 {
            stage.send(0, 1, 255);
        }
        stage.captures.stop(&mut stage.engine, id);
        readers.push(out);
    }
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let network = "lab".parse().expect("a name");
    let refused =
        stage.captures.start(&mut stage.engine, at(0), &network, Wish::default(), writer.into());
    assert!(matches!(refused, Err(CaptureError::TooMany)), "eight threads are there already");
    // Ending the network does not wait for them: nobody reads yet.
    let mut remains = Remains::default();
    remains.add(stage.captures.finish(&mut stage.engine));
    assert_eq!(remains.0.len(), CAPTURES_MAX);
    drop(readers);
    remains.wait(Duration::from_secs(20));
    assert!(remains.0.iter().all(Leaving::has_ended));
}

#[test]
fn a_reader_that_goes_ends_its_capture() {
    let mut stage = Stage::new(2);
    let (id, out) = stage.start(None, SNAPLEN_MAX);
    drop(out);
    // Each frame is another try to write; the thread ends with the first that fails.
    for _ in 0..10_000 {
        stage.send(0, 1, 255);
        if stage.captures.ended() == [id] {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(stage.captures.ended(), [id]);
    stage.captures.stop(&mut stage.engine, id);
    assert!(stage.captures.is_empty());
}

#[test]
fn there_are_so_many_captures_and_no_more() {
    let mut stage = Stage::new(1);
    let kept: Vec<_> = (0..CAPTURES_MAX).map(|_| stage.start(None, 64)).collect();
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let network = "lab".parse().expect("a name");
    let refused =
        stage.captures.start(&mut stage.engine, at(0), &network, Wish::default(), writer.into());
    assert!(matches!(refused, Err(CaptureError::TooMany)));
    let _writing = stage.captures.finish(&mut stage.engine);
    for (_, out) in kept {
        assert_eq!(parsed(&read(out)).0.len(), 0);
    }
}
