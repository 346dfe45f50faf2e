//! Checks 4 to 9.

use engine::{Action, Check, Reason};
use testkit::mac;
use wire::{MacAddr, Tag};

use crate::world::{PEER, a, both_passed, both_refused, passed, refused, strict, world};

fn raw(guest: &crate::world::Guest, to: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    guest.frame(to, |b| b.ethertype(ethertype).payload(payload))
}

#[test]
fn groups_of_bridges() {
    for last in [0x01, 0x02, 0x03, 0x0e, 0x0f] {
        let group = MacAddr([0x01, 0x80, 0xc2, 0, 0, last]);
        let frame = raw(&a(), group, 0x88b5, &[0; 46]);
        refused(&mut world(), "a", &frame, Reason::ReservedGroup);
        // Who may be a bridge is heard as one.
        let mut net = world();
        let mut spec = strict(2);
        spec.guard.ethertypes = vec![0x88b5];
        spec.guard.actions.set(Check::BridgeControl, Action::Allow).expect("settable");
        net.change("a", spec);
        passed(&mut net, "a", &frame);
    }
    for group in
        [MacAddr([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc]), MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x21])]
    {
        both_refused(Reason::ControlGroup, |g| raw(g, group, 0x2000, &[0; 46]));
    }
}

#[test]
fn ethertypes_of_bridges_and_authenticators() {
    for number in [0x88cc, 0x888e, 0x8809, 0x8808] {
        both_refused(Reason::ControlEthertype, |g| raw(g, mac(PEER), number, &[0; 46]));
    }
}

#[test]
fn a_bpdu_is_told_apart() {
    // Of customer bridges, of provider bridges, and of one VLAN.
    for group in [
        MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]),
        MacAddr([0x01, 0x80, 0xc2, 0, 0, 8]),
        MacAddr([0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd]),
    ] {
        // 802.3 with LLC 42 42 03.
        both_refused(Reason::Bpdu, |g| raw(g, group, 38, &[0x42, 0x42, 3, 0, 0]));
        // Each is enough to cut the port off.
        let mut net = world();
        let mut spec = strict(2);
        spec.guard.bpdu_shutdown = Some(std::time::Duration::from_secs(5));
        net.change("a", spec);
        let frame = raw(&a(), group, 38, &[0x42, 0x42, 3, 0, 0]);
        refused(&mut net, "a", &frame, Reason::Bpdu);
        refused(&mut net, "a", &a().udp4(&a().ip4(), 1, 2), Reason::Quarantined);
    }
}

#[test]
fn a_packet_behind_snap_is_no_way_around() {
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0, 0, 20];
    both_refused(Reason::Llc, |g| raw(g, mac(PEER), 60, &[&snap[..], &[0; 40]].concat()));
}

#[test]
fn only_known_ethertypes_unless_listed() {
    both_refused(Reason::Ethertype, |g| raw(g, mac(PEER), 0x88b5, &[0; 46]));
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.ethertypes = vec![0x88b5];
    net.change("a", spec);
    passed(&mut net, "a", &raw(&a(), mac(PEER), 0x88b5, &[0; 46]));
}

#[test]
fn frames_in_frames() {
    for number in [0x8847, 0x8848, 0x8863, 0x8864, 0x88e5, 0x88e7, 0x894f] {
        both_refused(Reason::Encapsulation, |g| raw(g, mac(PEER), number, &[0; 46]));
    }
}

#[test]
fn a_second_tag_is_somebody_elses_network() {
    let mut guest = crate::world::t();
    guest.tags.push(Tag::new(2));
    let frame = guest.udp4(&guest.ip4(), 1000, 2000);
    refused(&mut world(), "t", &frame, Reason::VlanDouble);
    let mut guest = a();
    guest.tags = vec![Tag::new(1), Tag::new(1)];
    let frame = guest.udp4(&guest.ip4(), 1000, 2000);
    refused(&mut world(), "a", &frame, Reason::VlanDouble);
    guest.tags = vec![Tag::new(1)];
    refused(&mut world(), "a", &guest.udp4(&guest.ip4(), 1000, 2000), Reason::VlanTagged);
}

#[test]
fn ordinary_frames_pass() {
    both_passed(|g| g.udp4(&g.ip4(), 1000, 2000));
    both_passed(|g| g.udp6(&g.ip6(), 1000, 2000));
    both_passed(|g| g.tcp4(0x10));
    both_passed(|g| g.tcp6(0x02));
    // A priority tag is no tag.
    let mut guest = a();
    guest.tags = vec![Tag { tpid: 0x8100, tci: 0xe000 }];
    passed(&mut world(), "a", &guest.udp4(&guest.ip4(), 1000, 2000));
}
