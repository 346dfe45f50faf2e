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

/// So many clients connect; how many segments the guest gets.
fn connect(lab: &mut Lab, family: Family, clients: std::ops::Range<u16>) -> usize {
    let token = Token::new(Kind::PublishTcp, 0, u32::from(family.v6));
    let event = Event { token: 0, readable: true, writable: false, hangup: false, urgent: false };
    let mut got = 0;
    for client in clients {
        let found = Ok(family.outside(10_000 + client));
        lab.gateway.tcp.backend_mut().accepts.borrow_mut().push_back(found);
        lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
        lab.flush();
        got += lab.got().len();
    }
    got
}

#[test]
fn clients_that_are_not_answered_do_not_keep_a_guest_from_opening_connections() {
    for family in BOTH {
        let mut lab = serves(Limits::default());
        // The guest does not answer: 512 may wait for it.
        assert_eq!(connect(&mut lab, family, 0..2000), 512);
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 512);
        lab.moved(&[
            (Reason::PublishedIn, 2000),
            (Reason::TcpIn, 512),
            (Reason::GuestLimit, 2000 - 512),
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

#[test]
fn a_quarter_of_what_a_guest_may_have_is_for_what_it_opens_itself() {
    for family in BOTH {
        let mut lab = serves(Limits { flows: 100, flows_per_guest: 8, ..Limits::default() });
        assert_eq!(connect(&mut lab, family, 0..10), 6);
        lab.moved(&[(Reason::PublishedIn, 10), (Reason::TcpIn, 6), (Reason::GuestLimit, 4)]);
        for number in 0..3 {
            syn(&mut lab, GUEST, family.guest(20_000 + number), family.outside(443));
            lab.flush();
        }
        lab.moved(&[(Reason::TcpOut, 2), (Reason::GuestLimit, 1)]);
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 8);
        // Clients are not served instead of what it opened.
        assert_eq!(connect(&mut lab, family, 10..11), 0);
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::GuestLimit, 1)]);
        lab.idle();
    }
}
