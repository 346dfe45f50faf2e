//! Faults that other switches had, and must not come back here: the dead client in the middle of a flood, the
//! address table without bound, the member that slows the others, checksums lost on sockets without headers.
#![forbid(unsafe_code)]

use std::os::unix::net::UnixStream;

use e2e::client::dgram::{Dgram, VFKIT_GREETING};
use e2e::client::frame::{BROADCAST, frame, mac, payload};
use e2e::client::stream::Stream;
use e2e::{Lab, Person, Report, Tun, User, need, until};
use serde_json::Value;

const NET: &str = "n";

/// CPU time the daemon has used, in the kernel's ticks (usually 10 ms).
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// One connection invents addresses without end: it is cut off at its limit, pays alone, and the table stays small.
#[test]
fn the_address_table_is_bounded() {
    const INVENTED: u32 = 20_000;
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up_for_frames(NET, "");
    let mut honest = Stream::connect(&person.node(NET, "stream"));
    honest.send(&frame(BROADCAST, mac(1), b"I was here first"));
    person.show_until(NET, "the honest address", |report| report.behind(mac(1)));

    let mut liar = Stream::connect(&person.node(NET, "stream"));
    // Among the inventions is the honest one's own address.
    for number in 1..=INVENTED {
        liar.send(&frame(mac(1), mac(number), b"who am I?"));
    }
    let report = person.show_until(NET, "all inventions judged", |report| {
        let all = report.ports().any(|port| port.counter("rx_frames") == u64::from(INVENTED));
        all.then(|| report.clone())
    });
    let liars = report
        .ports()
        .find(|port| port.counter("rx_frames") == u64::from(INVENTED))
        .expect("the liar's port");
    let honests = report.behind(mac(1)).expect("the honest address stays where it was");
    assert_ne!(liars.name(), honests.name());
    assert!(report.macs() < 100, "{} addresses in the table", report.macs());
    let refused = liars.drops();
    let passed = liars.counter("rx_forwarded") + liars.counter("rx_flooded");
    assert_eq!(refused + passed, u64::from(INVENTED), "{:#}", liars.0);
    assert!(liars.dropped("mac-limit") > u64::from(INVENTED) - 100, "{:#}", liars.0);
    assert_eq!(honests.drops() - honests.dropped("queue-full"), 0, "{:#}", honests.0);
    drop(daemon);
}

/// A client that stopped reading, one that was killed and one that hung up in the middle of a frame: a flood goes on
/// to all the others, whole and in order, and the daemon does not spin on any of them.
#[test]
fn dead_clients_do_not_stop_a_flood() {
    const FRAMES: u32 = 5000;
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person
        .up_for_frames(NET, "guard.storm = { broadcast = \"off\", bytes_per_second = \"off\" }");
    let node = person.node(NET, "stream");

    // Never reads: its socket fills, then its queue, and what is dropped is counted on its port alone.
    let mut deaf = Stream::connect(&node);
    deaf.send(&frame(BROADCAST, mac(1), b"deaf"));
    // The same on a datagram node: a full client is retried by timer, never in a loop.
    let deaf_dgram = Dgram::connect(&person.node(NET, "dgram"), &person.runtime().join("d"));
    deaf_dgram.send(VFKIT_GREETING);
    deaf_dgram.send(&frame(BROADCAST, mac(2), b"deaf"));
    person.show_until(NET, "both deaf clients", |report| {
        report.behind(mac(1)).and(report.behind(mac(2)))
    });

    // The listener reads everything, in a thread of its own, and checks that nothing is missing.
    let mut listener = Stream::connect(&node);
    listener.send(&frame(BROADCAST, mac(3), b"listener"));
    person.show_until(NET, "the listener", |report| report.behind(mac(3)));
    let mut sender = Stream::connect(&node);
    let hears = std::thread::spawn(move || {
        for number in 0..FRAMES {
            let heard = listener.receive_until(|frame| frame[6..12] == mac(4));
            let payload = payload(&heard).expect("an experimental frame");
            assert_eq!(payload[..4], number.to_be_bytes(), "a frame is missing");
        }
        listener
    });
    let mut half = None;
    for number in 0..FRAMES {
        if number % 500 == 0 {
            // Half a frame, then gone: each time the one before hangs up.
            let mut rude = UnixStream::connect(&node).expect("the node listens");
            std::io::Write::write_all(&mut rude, &[0, 0, 5, 0xdc, 1, 2, 3]).expect("it reads");
            half = Some(rude);
        }
        sender.send(&frame(BROADCAST, mac(4), &[&number.to_be_bytes()[..], &[0; 1000]].concat()));
        // A listener that keeps up must lose nothing; the pace is the listener's own, by what is queued for it.
        if number % 64 == 63 {
            person_waits(&person, number);
        }
    }
    let _listener = hears.join().expect("the listener heard every frame");
    drop(half);

    let report = person.show(NET);
    let lost = |mac| report.behind(mac).map_or(0, |port| port.drops());
    assert!(lost(mac(1)) > 0, "the deaf stream lost what it did not read: {:#}", report.0);
    assert!(lost(mac(2)) > 0, "the deaf datagram client too: {:#}", report.0);
    assert_eq!((lost(mac(3)), lost(mac(4))), (0, 0), "nobody else lost anything: {:#}", report.0);

    // Two clients are full, and nothing arrives: the daemon sleeps. A spinning one would use the whole time.
    let before = ticks(daemon.pid());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(1);
    until("one second", || (std::time::Instant::now() >= end).then_some(()));
    let used = ticks(daemon.pid()) - before;
    assert!(used <= 20, "{used} ticks of CPU time in an idle second");
}

/// Waits until the network has nothing queued for the listener.
fn person_waits(person: &Person<'_>, number: u32) {
    person.show_until(NET, "the listener's queue to empty", |report| {
        let port = report.behind(mac(3))?;
        let heard = port.counter("tx_broadcast");
        (heard > u64::from(number) && port.0["queue_frames"] == 0).then_some(())
    });
}

/// A receiver without offloads beside two with: the two exchange frames of many segments as before.
#[test]
fn a_member_without_offloads_does_not_slow_the_others() {
    need!(Tun::Open.possible());
    need!(e2e::skip::program("iperf3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let _server = person.guest(
        NET,
        "server",
        person.netherd(["run", "--net", NET, "--name", "server", "--", "iperf3", "-s"]),
    );
    let address = person.port(NET, "server").ipv4();
    let mut plain = Stream::connect(&person.node(NET, "stream"));
    plain.send(&frame(BROADCAST, mac(1), b"no offloads here"));
    let before = person.show_until(NET, "the plain member", |report| {
        report.behind(mac(1)).and(report.find("server"))
    });
    let client = ["run", "--net", NET, "--", "iperf3", "-c", &address, "-n", "50M", "-J"];
    let said = person.netherd(client).run().ok();
    let result: Value = serde_json::from_str(&said).expect("iperf3 -J prints JSON");
    assert!(
        result["end"]["sum_received"]["bytes"].as_u64().is_some_and(|bytes| bytes >= 40_000_000)
    );

    let after = person.port(NET, "server");
    let moved = |name: &str| after.counter(name) - before.counter(name);
    assert_eq!(
        moved("tx_segmented"),
        0,
        "nothing is segmented for a port that takes GSO: {:#}",
        after.0
    );
    assert_eq!(moved("tx_completed"), 0, "nor completed for one that takes partial checksums");
    let mean = moved("tx_bytes") / moved("tx_frames");
    assert!(mean > 3 * 1514, "frames to the server had {mean} bytes on average: they were cut");
    // The plain member saw the ARP, and none of the stream.
    let plain_port = person.show(NET).behind(mac(1)).expect("it is still there");
    assert!(plain_port.counter("tx_frames") < 100, "{:#}", plain_port.0);
}

/// A guest with offloads sends to a member without: each frame arrives within the MTU, its checksum complete.
#[test]
fn a_socket_without_headers_gets_complete_frames() {
    need!(Tun::Open.possible());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let report = person.show(NET);
    let (ipv4, _) = report.spare_ipv4(3);
    let (ipv6, _) = report.spare_ipv6(3);
    let mut member = Stream::connect(&person.node(NET, "stream"));
    member.send(&frame(BROADCAST, mac(1), b"here"));
    person.show_until(NET, "the member", |report| report.behind(mac(1)));

    // The guest knows the member's address without asking, and sends two datagrams in each family.
    let program = person.home().join("sends.py");
    std::fs::write(&program, SENDS).expect("the lab is ours");
    let neighbour = e2e::report::mac_text(mac(1));
    let script = format!(
        "ip neigh add {ipv4} lladdr {neighbour} dev eth0 nud permanent && \
         ip neigh add {ipv6} lladdr {neighbour} dev eth0 nud permanent && \
         exec python3 {} {ipv4} {ipv6}",
        program.display()
    );
    let _ =
        person.netherd(["run", "--net", NET, "--name", "g", "--", "sh", "-c", &script]).run().ok();
    for family in ["v4", "v6"] {
        for length in [21, 1000, 1000, 1000, 500] {
            let heard = member.receive_until(|frame| udp(frame).is_some_and(|(f, _)| f == family));
            let (_, datagram) = udp(&heard).expect("checked");
            assert_eq!(datagram.len(), length, "{family}");
            assert_eq!(udp_sum(&heard), 0xffff, "{family}: the checksum is not complete");
        }
    }
    let report: Report = person.show(NET);
    let port = report.behind(mac(1)).expect("it is still there");
    assert_eq!(port.counter("tx_segmented"), 2, "{:#}", port.0);
    assert_eq!(port.drops(), 0, "{:#}", port.0);
}

/// Sends to port 9 of both addresses: one datagram of 21 bytes, then 3500 bytes that the kernel is to cut into
/// datagrams of 1000 (`UDP_SEGMENT`, option 103 of level 17).
const SENDS: &str = "
import socket, sys
for family, address in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])):
    plain = socket.socket(family, socket.SOCK_DGRAM)
    plain.sendto(b'odd number of bytes..', (address, 9))
    cut = socket.socket(family, socket.SOCK_DGRAM)
    cut.setsockopt(17, 103, 1000)
    cut.sendto(b'x' * 3500, (address, 9))
";

/// The UDP payload to port 9, and its family.
fn udp(frame: &[u8]) -> Option<(&'static str, &[u8])> {
    let (family, header) = match frame.get(12..14)? {
        [0x08, 0x00] if *frame.get(23)? == 17 => ("v4", 14 + 4 * usize::from(frame[14] & 15)),
        [0x86, 0xdd] if *frame.get(20)? == 17 => ("v6", 54),
        _ => return None,
    };
    let udp = frame.get(header..)?;
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    (udp.get(2..4)? == [0, 9]).then_some((family, udp.get(8..length)?))
}

/// The ones' complement sum over pseudo header and datagram: `ffff` when the checksum is right (RFC 768, 8200 §8.1).
fn udp_sum(frame: &[u8]) -> u16 {
    let (addresses, header) =
        if frame[12] == 8 { (26..34, 14 + 4 * usize::from(frame[14] & 15)) } else { (22..54, 54) };
    let length = usize::from(u16::from_be_bytes([frame[header + 4], frame[header + 5]]));
    let mut bytes = frame[addresses].to_vec();
    bytes.extend_from_slice(&u32::try_from(length).expect("short").to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 17]);
    bytes.extend_from_slice(&frame[header..header + length]);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let mut sum: u32 =
        bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).expect("folded")
}
