//! Real programs of the outside, through the user-mode gateway: what arrives is what was sent.
#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Duration;

use e2e::bytes::{make, take};
use e2e::outside::{FAR, HOST, NET};
use e2e::{Lab, Outside, Person, User, need};
use serde_json::Value;

/// Long enough for a gibibyte on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(180);
const URLS: [&str; 2] = ["http://203.0.113.1", "http://[2001:db8:113::1]"];

fn needs(programs: &[&str]) -> Result<(), String> {
    e2e::skip::namespaces()?;
    programs.iter().try_for_each(|program| e2e::skip::program(program).map(drop))
}

fn counter(person: &Person<'_>, name: &str) -> u64 {
    person.show(NET).0["outside"]["counters"][name].as_u64().unwrap_or(0)
}

/// That many connections were opened, and none of them was refused, broken off or thought bad.
#[track_caller]
fn all_was_well(person: &Person<'_>, connections: u64) {
    assert_eq!(counter(person, "tcp-opened"), connections);
    for reason in [
        "malformed",
        "checksum",
        "tcp-unknown",
        "tcp-other-guest",
        "tcp-refused",
        "tcp-unreachable",
        "tcp-unanswered",
        "tcp-reset",
        "tcp-guest-reset",
        "guest-limit",
        "flow-limit",
        "evicted",
        "pool-empty",
        "out-of-descriptors",
        "socket-failed",
        "protocol",
        "fragment",
    ] {
        assert_eq!(counter(person, reason), 0, "{reason}: {:#}", person.show(NET).0["outside"]);
    }
}

/// A gibibyte from the server of that number in [`URLS`], and a gibibyte to it.
fn a_gibibyte(family: usize) -> Result<(), String> {
    needs(&["curl", "openssl"])?;
    let mut outside = Outside::new()?;
    let lab = Lab::new();
    let person = lab.person(User::first()?);
    let web = outside.web(&lab)?;
    let _daemon = outside.network(&person, "");
    let big = web.join("big");
    let sum = make(&big, 1 << 30);
    let url = URLS[family];
    let script = format!(
        "curl -sSf {url}/big | sha256sum && curl -sSf -T {} {url}/up && curl -sSf {url}/me",
        big.display()
    );
    let said = outside.guest(&person, "client", &[], &script).limit(LONG).run().ok();
    // The server sees the host.
    assert_eq!(said, format!("{sum}{}\n", HOST[family]));
    assert_eq!(take(&web.join("up")), sum);
    all_was_well(&person, 3);
    Ok(())
}

#[test]
fn a_gibibyte_arrives_whole_both_ways_over_ipv4() {
    need!(a_gibibyte(0));
}

#[test]
fn a_gibibyte_arrives_whole_both_ways_over_ipv6() {
    need!(a_gibibyte(1));
}

/// Sixteen at once, of both families: each gets its own bytes, and all get on.
#[test]
fn downloads_side_by_side_do_not_mix() {
    need!(needs(&["curl", "openssl"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = need!(outside.web(&lab));
    let _daemon = outside.network(&person, "");
    let mut expected = Vec::new();
    for i in 0..16_u64 {
        expected.push(make(&web.join(format!("part{i}")), (8 << 20) + i));
    }
    let [v4, v6] = URLS;
    let script = format!(
        "for i in 0 2 4 6 8 10 12 14; do
            curl -sSf {v4}/part$i | sha256sum > $i & curl -sSf {v6}/part$((i+1)) | sha256sum > $((i+1)) &
        done; wait; for i in $(seq 0 15); do cat $i; done"
    );
    let said = outside.guest(&person, "client", &[], &script).limit(LONG).run().ok();
    assert_eq!(said, expected.concat());
    all_was_well(&person, 16);
}

#[test]
fn iperf3_measures_tcp_and_udp_in_both_directions() {
    need!(needs(&["iperf3"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    outside.start("iperf3", &["-s"]);
    outside.listens(5201);
    let _daemon = outside.network(&person, "");
    for address in FAR {
        for direction in ["-4", "-R"] {
            let direction =
                if address.contains(':') { direction.replace('4', "6") } else { direction.into() };
            let measure = |more: &str| {
                let script = format!("exec iperf3 -c {address} {direction} -J {more}");
                let said = outside.guest(&person, "client", &[], &script).run().ok();
                serde_json::from_str::<Value>(&said).expect("iperf3 -J prints JSON")
            };
            let tcp = measure("-n 20M");
            let bytes = |side: &str| tcp["end"][side]["bytes"].as_u64().unwrap_or(0);
            assert!(bytes("sum_sent") >= 20_000_000, "{address} {direction}: {}", tcp["end"]);
            // Datagrams as long as the link takes, and small ones.
            for shape in ["-l 1400 -b 4M -n 400K", "-l 64 -b 256K -n 20K"] {
                let udp = measure(&format!("-u {shape}"));
                let sum = &udp["end"]["sum"];
                let number = |name: &str| sum[name].as_u64().expect("a number of datagrams");
                assert!(number("packets") > 280, "{address} {direction}: {sum}");
                // Some may be lost in the receiver's socket, when it waits for a processor.
                assert!(
                    number("lost_packets") * 10 < number("packets"),
                    "{address} {direction}: {sum}"
                );
            }
        }
    }
    for reason in ["malformed", "checksum", "send-failed", "too-big", "fragment"] {
        assert_eq!(counter(&person, reason), 0, "{reason}");
    }
    assert!(counter(&person, "udp-out") > 0 && counter(&person, "udp-in") > 0);
}

#[test]
fn ssh_logs_in_and_carries_bytes_both_ways() {
    need!(needs(&["ssh", "ssh-keygen", "openssl"]));
    let sshd = need!(e2e::skip::program("sshd"));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = lab.root().display();
    let keys = format!(
        "mkdir -p -m 755 /run/sshd; cd {root}; for key in host user; do ssh-keygen -q -t ed25519 -N '' -f $key; done;
         chown {} user; chmod 600 user",
        person.user().uid
    );
    assert!(Command::new("sh").args(["-c", &keys]).status().expect("sh runs").success());
    let config = format!(
        "HostKey {root}/host\nAuthorizedKeysFile {root}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n\
         PermitRootLogin yes\nPasswordAuthentication no\nListenAddress {}\nListenAddress [{}]:22\n",
        FAR[0], FAR[1]
    );
    let file = lab.root().join("sshd.conf");
    std::fs::write(&file, config).expect("the lab is ours");
    outside.start(e2e::outside::path(&sshd), &["-D", "-e", "-f", e2e::outside::path(&file)]);
    outside.listens(22);
    let sum = make(&lab.root().join("some"), 8 << 20);
    let _daemon = outside.network(&person, "");
    for address in FAR {
        let ssh = format!(
            "ssh -F none -i {root}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
             root@{address}"
        );
        let script = format!("{ssh} sha256sum < {root}/some && {ssh} cat {root}/some | sha256sum");
        let said = outside.guest(&person, "client", &[], &script).limit(LONG).run().ok();
        assert_eq!(said, format!("{sum}{sum}"), "{address}");
    }
    all_was_well(&person, 4);
}

/// What a program sends, and then closes and ends, reaches the outside, which reads late. What was acknowledged to it is
/// the outside's though the guest is gone; for what was not, the guest stays a moment longer than its programs.
#[test]
fn who_sends_and_does_not_wait_has_sent_all() {
    need!(needs(&["python3"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let program = lab.root().join("sends_off.py");
    std::fs::write(&program, include_str!("programs/sends_off.py")).expect("the lab is ours");
    let (program, taken) = (program.display().to_string(), lab.root().join("taken"));
    outside.start("python3", &[&program, "take", "7", e2e::outside::path(&taken)]);
    outside.listens(7);
    let _daemon = outside.network(&person, "");
    let mut all = String::new();
    for (how, count) in [("send", 150_000), ("drop", 12_000_000)] {
        for address in FAR {
            let script = format!("exec python3 {program} {how} {address} 7 {count}");
            outside.guest(&person, "sender", &[], &script).run().ok();
            let before = all.lines().count();
            all += &format!("{count} end\n");
            e2e::until("the outside to have read", || {
                let said = std::fs::read_to_string(&taken).unwrap_or_default();
                (said.lines().count() > before).then(|| assert_eq!(said, all))
            });
        }
    }
    all_was_well(&person, 4);
    assert_eq!(counter(&person, "tcp-left-behind"), 0);
}
