//! Live captures: pcapng that Wireshark's own reader takes, each frame once, with the engine's verdict.
#![forbid(unsafe_code)]

use std::path::Path;

use e2e::client::frame::{BROADCAST, frame, mac};
use e2e::client::stream::Stream;
use e2e::{Lab, Person, Running, User, need, until};

const NET: &str = "n";

fn capture(person: &Person<'_>, file: &Path, arguments: &[&str]) -> Running {
    let capture = person.netherd(["capture", "--net", NET, "-w"]).arg(file).args(arguments).spawn();
    // The section header is there once the daemon captures.
    until("the head of the capture", || (file.metadata().ok()?.len() > 0).then_some(()));
    capture
}

/// tshark's fields of every frame in `file`, one line each.
fn read(person: &Person<'_>, file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut job = person.job("tshark").args(["-n", "-r"]).arg(file).args([
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]);
    for field in fields {
        job = job.args(["-e", field]);
    }
    let said = job.run().ok();
    said.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

#[test]
fn tshark_reads_frames_and_verdicts() {
    need!(e2e::skip::program("tshark"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let node = person.node(NET, "stream");
    let mut one = Stream::connect(&node);
    let mut two = Stream::connect(&node);
    one.send(&frame(BROADCAST, mac(1), b"one"));
    two.send(&frame(BROADCAST, mac(2), b"two"));
    person.show_until(NET, "both", |report| report.behind(mac(1)).and(report.behind(mac(2))));

    let file = person.home().join("all.pcapng");
    let capture = capture(&person, &file, &[]);
    one.send(&frame(mac(2), mac(1), b"a forwarded frame"));
    two.send(&frame(BROADCAST, mac(2), b"a flooded frame"));
    // The source of another's live port: refused, with the reason.
    two.send(&frame(mac(1), mac(1), b"a refused frame"));
    one.send(&frame(BROADCAST, mac(1), &[0; 1501]));
    let rows = until("all four frames", || {
        let rows = read(&person, &file, &["eth.src", "eth.dst", "frame.len", "frame.comment"]);
        (rows.len() >= 4).then_some(rows)
    });
    let _ = capture.stop(rustix::process::Signal::INT).ok();
    assert_eq!(rows.len(), 4, "each frame once: {rows:?}");
    let [one, two] = [mac(1), mac(2)].map(e2e::report::mac_text);
    // Two clients' frames may enter in either order.
    for (source, length, verdict) in [
        (&one, "60", "forward"),
        (&two, "60", "flood"),
        (&one, "60", "drop"),
        (&one, "1515", "oversize"),
    ] {
        let is_it =
            |row: &&Vec<String>| row[0] == *source && row[2] == length && row[3].contains(verdict);
        assert_eq!(rows.iter().filter(is_it).count(), 1, "{source} {length} {verdict}: {rows:?}");
    }
}

/// One port, cut to a length: what came from it and what was sent to it, and nothing else.
#[test]
fn one_port_can_be_captured_alone() {
    need!(e2e::skip::program("tcpdump"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let node = person.node(NET, "stream");
    let mut clients = [1, 2, 3].map(|number| {
        let mut client = Stream::connect(&node);
        client.send(&frame(BROADCAST, mac(number), b"here"));
        person.show_until(NET, "its address", |report| report.behind(mac(number)));
        client
    });
    let port = person.show(NET).behind(mac(1)).expect("learned");
    let file = person.home().join("one.pcapng");
    let capture = capture(&person, &file, &["--snaplen", "64", port.name()]);
    for (from, to) in [(2, 3), (2, 1), (1, 2)] {
        clients[from - 1].send(&frame(
            mac(to),
            mac(u32::try_from(from).expect("small")),
            &[7; 1000],
        ));
    }
    let text = until("two frames", || {
        let said = person.job("tcpdump").args(["-n", "-e", "-xx", "-r"]).arg(&file).run();
        (said.stdout.matches("length 1014").count() >= 2).then_some(said.stdout)
    });
    let _ = capture.stop(rustix::process::Signal::INT).ok();
    let [one, two, three] = [mac(1), mac(2), mac(3)].map(e2e::report::mac_text);
    assert!(text.contains(&format!("{one} > {two}")), "{text}");
    assert!(text.contains(&format!("{two} > {one}")), "{text}");
    assert!(!text.contains(&three), "a frame between others is in it: {text}");
    assert!(text.contains("0x0030:") && !text.contains("0x0040:"), "64 bytes and no more: {text}");
}

/// A reader that stops reading costs captured frames, which are counted, and nothing else.
#[test]
fn a_slow_reader_of_a_capture_delays_nobody() {
    const FRAMES: u32 = 20_000;
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let fifo = person.home().join("fifo");
    let _ = person.job("mkfifo").arg(&fifo).run().ok();
    // Opened for reading, so that the capture can begin; never read.
    let _reader = person
        .job("sh")
        .args(["-c", &format!("exec 3<>{}; exec sleep 60", fifo.display())])
        .spawn();
    let mut capture = person.netherd(["capture", "--net", NET, "-w"]).arg(&fifo).spawn();
    let mut sender = Stream::connect(&person.node(NET, "stream"));
    let mut listener = Stream::connect(&person.node(NET, "stream"));
    listener.send(&frame(BROADCAST, mac(2), b"here"));
    person.show_until(NET, "the listener", |report| report.behind(mac(2)));
    let heard = std::thread::spawn(move || {
        listener.receive_until(|frame| frame[14..18] == (FRAMES - 1).to_be_bytes());
    });
    for number in 0..FRAMES {
        sender.send(&frame(mac(2), mac(1), &[&number.to_be_bytes()[..], &[0; 200]].concat()));
    }
    // The last one may have met a full queue: it is said again until it is heard.
    until("the last frame", || {
        sender.send(&frame(mac(2), mac(1), &(FRAMES - 1).to_be_bytes()));
        heard.is_finished().then_some(())
    });
    assert!(capture.alive());
    let report = person.show(NET);
    assert!(report.0["capture_drops"].as_u64().is_some_and(|drops| drops > 0), "{:#}", report.0);
}

/// The counters as OpenMetrics, by the same names as in `show`.
#[test]
fn metrics_are_openmetrics() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let mut client = Stream::connect(&person.node(NET, "stream"));
    client.send(&frame(BROADCAST, mac(1), b"one"));
    person.show_until(NET, "the client", |report| report.behind(mac(1)));
    let text = person.netherd(["metrics", "--net", NET]).run().ok();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let name = person.show(NET).behind(mac(1)).expect("learned").name().to_owned();
    let line = text.lines().find(|line| {
        line.contains("rx_frames_total")
            && line.contains(&format!("\"{name}\""))
            && line.ends_with(" 1")
    });
    assert!(line.is_some(), "{text}");
}
