//! Questions to the groups of multicast DNS and LLMNR.

use std::net::{Ipv6Addr, SocketAddr};

use crate::harness::{BOTH, Family, Lab, plan};
use crate::services::ServiceReason;
use crate::{GuestAddresses, Reason};

const MDNS: u16 = 5353;
const LLMNR: u16 = 5355;

/// Types of records.
const A: u16 = 1;
const AAAA: u16 = 28;

fn mdns(family: Family, port: u16) -> SocketAddr {
    family.pick("224.0.0.251", "ff02::fb", port)
}

fn llmnr(family: Family, port: u16) -> SocketAddr {
    family.pick("224.0.0.252", "ff02::1:3", port)
}

/// A network whose guests are told of each other, with one guest.
fn lab() -> Lab {
    let mut plan = plan();
    plan.mdns = true;
    let mut lab = Lab::new(plan);
    let v6: Ipv6Addr = "fd00:9::20".parse().unwrap();
    let addresses =
        GuestAddresses { key: None, mac: None, v4: Some([10, 9, 0, 20].into()), v6: Some(v6) };
    lab.gateway.set_guest("web", addresses);
    lab
}

/// A message with one question, about addresses of the family.
fn question(family: Family, id: u16, labels: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [id, 0, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    for label in labels {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([if family.v6 { AAAA } else { A }, 1].into_iter().flat_map(u16::to_be_bytes));
    bytes
}

/// The address that an answer ends with.
fn told(family: Family, payload: &[u8]) -> String {
    if family.v6 {
        Ipv6Addr::from(*payload.last_chunk::<16>().unwrap()).to_string()
    } else {
        std::net::Ipv4Addr::from(*payload.last_chunk::<4>().unwrap()).to_string()
    }
}

#[test]
fn a_question_to_the_group_is_answered() {
    for family in BOTH {
        let mut lab = lab();
        let web = if family.v6 { "fd00:9::20" } else { "10.9.0.20" };
        let own = |port| {
            let link_local = lab.gateway.plan().link_local();
            if family.v6 { SocketAddr::new(link_local.into(), port) } else { family.gateway(port) }
        };
        let (own_mdns, own_llmnr) = (own(MDNS), own(LLMNR));
        // A responder asks for all to hear; a simple client, and one of LLMNR, for itself.
        for (port, to, labels, ends) in [
            (MDNS, mdns(family, MDNS), &["web", "local"][..], (own_mdns, mdns(family, MDNS))),
            (4000, mdns(family, MDNS), &["web", "local"], (own_mdns, family.guest(4000))),
            (4000, llmnr(family, LLMNR), &["web"], (own_llmnr, family.guest(4000))),
        ] {
            lab.udp(family.guest(port), to, &question(family, 7, labels));
            lab.moved(&[(Reason::Service, 1)]);
            let got = lab.one();
            got.check();
            assert_eq!((got.ends(), told(family, got.payload())), (ends, web.to_owned()));
        }
        // Nobody has that name.
        lab.udp(family.guest(MDNS), mdns(family, MDNS), &question(family, 7, &["db", "local"]));
        lab.moved(&[(Reason::Service, 1)]);
        let counters: Vec<_> = lab.gateway.services().counters().iter().collect();
        let expected = [(ServiceReason::MdnsAnswered, 3), (ServiceReason::MdnsUnknown, 1)];
        assert_eq!(counters, expected);
        assert_eq!(lab.gateway.flows(lab.now).count(), 0);
        lab.idle();
    }
}

/// What is sent to other groups, or to these while the network does not answer there, is nobody's.
#[test]
fn other_groups_and_ports_are_nobodys() {
    for family in BOTH {
        let mut lab = lab();
        let asked = question(family, 7, &["web", "local"]);
        let ssdp = family.pick("239.255.255.250", "ff02::c", 1900);
        let others = [mdns(family, LLMNR), llmnr(family, MDNS), mdns(family, 53), ssdp];
        for to in others {
            lab.udp(family.guest(MDNS), to, &asked);
            lab.moved(&[(Reason::Multicast, 1)]);
        }
        let mut off = lab.gateway.plan().clone();
        off.mdns = false;
        lab.gateway.apply(lab.now, off).unwrap();
        lab.udp(family.guest(MDNS), mdns(family, MDNS), &asked);
        lab.moved(&[(Reason::Multicast, 1)]);
        assert!(lab.gateway.services().counters().iter().next().is_none());
        lab.idle();
    }
}
