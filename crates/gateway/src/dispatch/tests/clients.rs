//! Clients of published ports, and what their guest wants itself.

use super::*;
use crate::publish::PublishSpec;
use crate::{GuestAddresses, Limits, Protocol};

/// A lab whose guest serves clients at port 80 over both versions.
fn serves(limits: Limits) -> Lab {
    let mut plan = plan();
    plan.limits = limits;
    let mut lab = Lab::new(plan);
    let (ports, guest) = ((5000, 5000), "web".to_owned());
    let spec = PublishSpec { protocol: Protocol::Tcp, bind: None, ports, guest, to: 80 };
    lab.gateway.publish(spec).unwrap();
    let [v4, v6] = BOTH.map(|family| family.guest(0).ip());
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (v4, v6) else { panic!("{v4} {v6}") };
    let (key, mac) = (Some(GUEST), None);
    lab.gateway.set_guest("web", GuestAddresses { key, mac, v4: Some(v4), v6: Some(v6) });
    lab
}

/// The listener is reported, and has its turn; what the guest gets.
fn report(lab: &mut Lab, family: Family) -> Vec<Got> {
    let token = Token::new(Kind::PublishTcp, 0, u32::from(family.v6));
    let event = Event { token: 0, readable: true, writable: false, hangup: false, urgent: false };
    lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
    lab.flush();
    lab.got()
}

/// So many clients connect, one after the other; what the guest gets.
fn connect(lab: &mut Lab, family: Family, clients: std::ops::Range<u16>) -> Vec<Got> {
    let mut got = Vec::new();
    for client in clients {
        let found = Ok(family.outside(10_000 + client));
        lab.gateway.tcp.backend_mut().accepts.borrow_mut().push_back(found);
        got.extend(report(lab, family));
    }
    got
}

/// Clients that the host has, and nobody has taken.
fn waiting(lab: &mut Lab) -> usize {
    lab.gateway.tcp.backend_mut().accepts.borrow().len()
}

#[test]
fn clients_that_are_not_answered_do_not_keep_a_guest_from_opening_connections() {
    for family in BOTH {
        let mut lab = serves(Limits::default());
        // The guest does not answer: 512 may wait for it.
        assert_eq!(connect(&mut lab, family, 0..512).len(), 512);
        assert_eq!(connect(&mut lab, family, 512..513).len(), 0);
        assert_eq!((lab.gateway.tcp.len_of(GUEST), waiting(&mut lab)), (512, 1));
        lab.moved(&[
            (Reason::PublishedIn, 512),
            (Reason::TcpIn, 512),
            (Reason::PublishedWaiting, 2),
        ]);
        for number in 0..1024 {
            syn(&mut lab, GUEST, family.guest(20_000 + number), family.outside(443));
        }
        lab.flush();
        lab.moved(&[(Reason::TcpOut, 1024)]);
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 512 + 1024);
        // Nor the other way round.
        syn(&mut lab, GUEST, family.guest(30_000), family.outside(443));
        lab.flush();
        lab.moved(&[(Reason::GuestLimit, 1)]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, GUEST);
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 0);
        lab.got();
        lab.idle();
    }
}

/// A burst, as of a browser or a load test: the host has opened their connections already, so that a reset
/// would be the end of them.
#[test]
fn clients_beyond_those_that_may_wait_for_the_guest_wait_in_the_hosts_queue() {
    for family in BOTH {
        let mut lab = serves(Limits::default());
        let asked = connect(&mut lab, family, 0..520);
        assert_eq!((asked.len(), waiting(&mut lab)), (512, 8));
        lab.moved(&[
            (Reason::PublishedIn, 512),
            (Reason::TcpIn, 512),
            (Reason::PublishedWaiting, 1 + 8),
        ]);
        // The guest accepts one and refuses two.
        for (got, flags) in asked.iter().zip([flag::SYN, flag::RST, flag::RST]) {
            let (client, end) = got.ends();
            let l4 = usize::from(got.parsed.l4.unwrap().offset);
            let its = wire::tcp::Header::new(&got.bytes[l4..]).unwrap().sequence();
            tcp(&mut lab, GUEST, [end, client], 0, its.wrapping_add(1), flags | flag::ACK);
        }
        lab.flush();
        lab.got();
        lab.now = lab.now + Duration::from_millis(100);
        lab.pass(0);
        assert_eq!(report(&mut lab, family).len(), 3);
        assert_eq!((lab.gateway.tcp.len_of(GUEST), waiting(&mut lab)), (513, 5));
        lab.moved(&[
            (Reason::PublishedIn, 3),
            (Reason::TcpIn, 3 + 1),
            (Reason::TcpOut, 1),
            (Reason::TcpAccepted, 1),
            (Reason::TcpGuestRefused, 2),
            (Reason::PublishedWaiting, 1),
        ]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, GUEST);
        lab.got();
        lab.idle();
    }
}

#[test]
fn a_quarter_of_what_a_guest_may_have_is_for_what_it_opens_itself() {
    for family in BOTH {
        let mut lab = serves(Limits { flows: 100, flows_per_guest: 8, ..Limits::default() });
        assert_eq!(connect(&mut lab, family, 0..10).len(), 6);
        lab.moved(&[(Reason::PublishedIn, 10), (Reason::TcpIn, 6), (Reason::GuestLimit, 4)]);
        for number in 0..3 {
            syn(&mut lab, GUEST, family.guest(20_000 + number), family.outside(443));
            lab.flush();
        }
        lab.moved(&[(Reason::TcpOut, 2), (Reason::GuestLimit, 1)]);
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 8);
        // Clients are not served instead of what it opened.
        assert_eq!(connect(&mut lab, family, 10..11).len(), 0);
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::GuestLimit, 1)]);
        lab.idle();
    }
}
