//! Filters of ports: what passes, what is counted, and what a program gets to see.
#![forbid(unsafe_code)]

use std::sync::Arc;

use bpf::Program;
use bpf::expression::{Options, compile};
use engine::{CapturePlan, NetworkSpec, PortFilter, PortSpec, Reason, SourceMode, Verdict};
use testkit::frames::{plain, tagged, tcp_gso, udp, udp_gso, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, TestNetwork, mac};
use wire::{MacAddr, OffloadSet, Tag};

fn program(expression: &str) -> Option<Arc<Program>> {
    Some(Arc::new(compile(expression, &Options::default()).expect("an expression")))
}

fn from_guest(expression: &str) -> PortFilter {
    PortFilter { from_guest: program(expression), to_guest: None }
}

fn to_guest(expression: &str) -> PortFilter {
    PortFilter { from_guest: None, to_guest: program(expression) }
}

fn filtered(filter: PortFilter) -> PortSpec {
    PortSpec { filter, ..rich() }
}

fn rich() -> PortSpec {
    PortSpec { offloads_from_guest: OffloadSet::all(), ..PortSpec::default() }
}

#[test]
fn what_a_guest_sends_is_refused_with_a_reason() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("a", filtered(from_guest("udp")));
        net.plug("b", PortSpec::default());
        let good = udp(ip, MacAddr::BROADCAST, mac(1), &[], 100);
        let bad = plain(MacAddr::BROADCAST, mac(1), 60);
        assert_eq!(net.send("a", &good), Verdict::Flood { copies: 1 });
        assert_eq!(net.receive_plain("b"), std::slice::from_ref(&good));
        let len = good.len();
        net.moved(&[
            &format!("a rx_frames rx_bytes+{len} rx_broadcast rx_flooded rx_copies"),
            &format!("b tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"),
        ]);
        assert_eq!(net.send("a", &bad), Verdict::Drop(Reason::FilterIn));
        net.moved(&["a rx_frames rx_bytes+60 rx_broadcast drop.filter-in"]);
        // The other direction is not this filter's.
        assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("a")));
        assert_eq!(net.receive_plain("a").len(), 1);
        net.moved(&[
            "b rx_frames rx_bytes+60 rx_unicast rx_forwarded",
            "a tx_offered tx_queued tx_taken tx_frames tx_bytes+60 tx_unicast",
        ]);
        net.nothing_held();
    }
}

#[test]
fn what_a_guest_gets_is_refused_on_its_port_alone() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("a", PortSpec::default());
        net.plug("b", filtered(to_guest("not udp")));
        net.plug("c", PortSpec::default());
        let flood = udp(ip, MacAddr::BROADCAST, mac(1), &[], 100);
        let len = flood.len();
        assert_eq!(net.send("a", &flood), Verdict::Flood { copies: 2 });
        assert_eq!(net.receive_plain("c"), [flood]);
        assert!(net.receive("b").is_empty());
        net.moved(&[
            &format!("a rx_frames rx_bytes+{len} rx_broadcast rx_flooded rx_copies+2"),
            "b tx_offered drop.filter-out",
            &format!("c tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"),
        ]);
        net.send("b", &plain(mac(9), mac(2), 60));
        net.receive("a");
        net.receive("c");
        net.forget_moved();
        let one = udp(ip, mac(2), mac(1), &[], 100);
        assert_eq!(net.send("a", &one), Verdict::Forward(net.id("b")));
        net.moved(&[
            &format!("a rx_frames rx_bytes+{len} rx_unicast rx_forwarded"),
            "b tx_offered drop.filter-out",
        ]);
        net.nothing_held();
    }
}

/// Inside the engine a frame has no tag; on the wire of a trunk it has, on that of an access port it
/// has none.
#[test]
fn a_program_sees_the_tag_of_its_own_port() {
    for ip in Ip::BOTH {
        let name = if ip == Ip::V4 { "ip" } else { "ip6" };
        let mut net = TestNetwork::new(NetworkSpec::default());
        let vlan = trunk(Some(1), &[10, 20]);
        let len = udp(ip, mac(1), mac(2), &[Tag::new(20)], 100).len();
        let filter = PortFilter {
            from_guest: program(&format!("vlan 10 and {name} and udp")),
            to_guest: program(&format!("vlan 20 and {name} and len = {len}")),
        };
        // One address in two VLANs counts twice.
        let source = SourceMode::Learn { max_macs: 16 };
        net.plug("trunk", PortSpec { vlan, filter, source, ..PortSpec::default() });
        for (port, vid) in [("one", 1), ("ten", 10), ("twenty", 20)] {
            let vlan = engine::VlanMode::Access(vid);
            net.plug(port, PortSpec { vlan, filter: to_guest("not vlan"), ..PortSpec::default() });
        }
        let from = |tags: &[Tag]| udp(ip, MacAddr::BROADCAST, mac(1), tags, 100);
        assert_eq!(net.send("trunk", &from(&[Tag::new(10)])), Verdict::Flood { copies: 1 });
        assert_eq!(net.receive_plain("ten"), [from(&[])]);
        let refused = Verdict::Drop(Reason::FilterIn);
        assert_eq!(net.send("trunk", &from(&[Tag::new(20)])), refused);
        assert_eq!(net.send("trunk", &from(&[])), refused);
        let not_ip = tagged(MacAddr::BROADCAST, mac(1), &[Tag::new(10)], 60);
        assert_eq!(net.send("trunk", &not_ip), refused);
        net.forget_moved();
        let other = |port: u32| udp(ip, MacAddr::BROADCAST, mac(port), &[], 100);
        net.send("twenty", &other(20));
        net.send("ten", &other(11));
        net.send("one", &other(12));
        let sent = udp(ip, MacAddr::BROADCAST, mac(20), &[Tag::new(20)], 100);
        assert_eq!(net.receive_plain("trunk"), std::slice::from_ref(&sent));
        let (len, whole) = (sent.len() - 4, sent.len());
        let line =
            |port| format!("{port} rx_frames rx_bytes+{len} rx_broadcast rx_flooded rx_copies");
        net.moved(&[
            &line("one"),
            &line("ten"),
            &line("twenty"),
            &format!(
                "trunk tx_offered+3 drop.filter-out+2 tx_queued tx_taken tx_frames \
                 tx_bytes+{whole} tx_broadcast"
            ),
        ]);
        net.nothing_held();
    }
}

/// A frame that is to be cut is judged once, by its own headers and its whole length.
#[test]
fn a_large_frame_is_judged_whole() {
    for ip in Ip::BOTH {
        let tcp = tcp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000);
        let datagrams = udp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000);
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("a", filtered(from_guest("tcp and greater 4000")));
        net.plug("b", filtered(to_guest("less 4000")));
        net.plug("c", PortSpec { offloads_to_guest: OffloadSet::all(), ..PortSpec::default() });
        assert_eq!(net.send_rich("a", &datagrams), Verdict::Drop(Reason::FilterIn));
        assert_eq!(net.send_rich("a", &tcp), Verdict::Flood { copies: 2 });
        assert_eq!(net.receive("c"), std::slice::from_ref(&tcp));
        let (len, both) = (tcp.bytes.len(), tcp.bytes.len() + datagrams.bytes.len());
        net.moved(&[
            &format!(
                "a rx_frames+2 rx_bytes+{both} rx_broadcast+2 rx_flooded rx_copies+2 drop.filter-in"
            ),
            "b tx_offered drop.filter-out",
            &format!("c tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"),
        ]);
        net.nothing_held();
    }
}

#[test]
fn a_change_while_frames_flow_loses_none() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("a", rich());
        net.plug("b", PortSpec::default());
        let frame = udp(ip, MacAddr::BROADCAST, mac(1), &[], 100);
        let len = frame.len();
        net.send("a", &frame);
        let (a, b) = (net.id("a"), net.id("b"));
        net.engine.set_filter(b, to_guest("tcp")).expect("a live port");
        assert_eq!(net.engine.port(b).map(|spec| spec.filter.to_guest.is_some()), Some(true));
        // What was judged before stays.
        assert_eq!(net.receive_plain("b"), std::slice::from_ref(&frame));
        net.send("a", &frame);
        net.engine.set_filter(b, PortFilter::default()).expect("a live port");
        net.send("a", &frame);
        assert_eq!(net.receive_plain("b"), std::slice::from_ref(&frame));
        net.moved(&[
            &format!("a rx_frames+3 rx_bytes+{} rx_broadcast+3 rx_flooded+3 rx_copies+3", 3 * len),
            &format!(
                "b tx_offered+3 drop.filter-out tx_queued+2 tx_taken+2 tx_frames+2 tx_bytes+{} \
                 tx_broadcast+2",
                2 * len
            ),
        ]);
        net.engine.set_filter(a, from_guest("tcp")).expect("a live port");
        assert_eq!(net.send("a", &frame), Verdict::Drop(Reason::FilterIn));
        // It outlives a batch, and a change of the rest of the port does not outlive it.
        assert_eq!(net.send("a", &frame), Verdict::Drop(Reason::FilterIn));
        net.change("a", rich());
        assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 1 });
        assert!(net.engine.port(a).is_some_and(|spec| spec.filter == PortFilter::default()));
        net.unplug("a");
        assert!(net.engine.set_filter(a, PortFilter::default()).is_err());
    }
}

/// The source has been learned before the filter is asked: an answer finds its way.
#[test]
fn a_refused_frame_is_learned_from() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", filtered(from_guest("ip")));
    net.plug("b", PortSpec::default());
    assert_eq!(net.send("a", &plain(mac(2), mac(1), 60)), Verdict::Drop(Reason::FilterIn));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("a")));
    // And what is refused before the filter keeps its reason.
    assert_eq!(
        net.send("a", &plain(mac(2), MacAddr([0; 6]), 60)),
        Verdict::Drop(Reason::BadSource)
    );
}

#[test]
fn captures_have_filters_that_see_the_whole_frame() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("a", rich());
        net.plug("trunk", PortSpec { vlan: trunk(None, &[1]), ..PortSpec::default() });
        let long = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 400);
        let deep = format!("ether[400] = {}", long.bytes[400]);
        let filters = ["udp", "vlan 1", &deep];
        net.engine.capture(Some(CapturePlan {
            port: None,
            snaplen: 20,
            queue_bytes: 1 << 20,
            filters: filters.into_iter().filter_map(program).collect(),
        }));
        net.send_rich("a", &long);
        net.send("a", &udp(ip, MacAddr::BROADCAST, mac(1), &[], 20));
        net.send("a", &plain(MacAddr::BROADCAST, mac(1), 60));
        net.send("trunk", &tagged(MacAddr::BROADCAST, mac(2), &[Tag::new(1)], 60));
        let shown: Vec<(u8, usize, usize)> = std::iter::from_fn(|| net.engine.poll_capture())
            .map(|record| (record.wanted, record.len, record.bytes.len()))
            .collect();
        let short = udp(ip, MacAddr::BROADCAST, mac(1), &[], 20).len();
        assert_eq!(shown, [(0b101, long.bytes.len(), 20), (0b001, short, 20), (0b010, 64, 20)]);
        assert_eq!(net.engine.capture_drops(), 0, "what nobody wants is no loss");
    }
}
