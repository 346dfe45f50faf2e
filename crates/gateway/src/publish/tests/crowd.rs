//! More clients of UDP than there is room for.

use super::*;

#[test]
fn a_crowd_at_one_guest_costs_another_no_client() {
    const CLIENTS: u64 = 8192;
    for family in BOTH {
        let (mut lab, _) = lab();
        let other = PublishSpec { guest: "db".to_owned(), ..spec(Protocol::Udp, 5001) };
        lab.gateway.publish(other).unwrap();
        let mut addresses = here();
        addresses.key = Some(GuestKey(9));
        addresses.v4 = Some(Ipv4Addr::new(10, 9, 0, 6));
        addresses.v6 = Some("fd00:9::6".parse().unwrap());
        lab.gateway.set_guest("db", addresses.clone());
        // One client of the other guest, which is silent for longest.
        let client = family.outside(60_000);
        lab.host().arrive(2 + socket(family), client, b"x", None);
        lab.host_side();
        let mut end = family.guest(80);
        end.set_ip(if family.v6 {
            addresses.v6.unwrap().into()
        } else {
            addresses.v4.unwrap().into()
        });
        assert_eq!(lab.one().ends(), (client, end));
        lab.now = lab.now + Duration::from_secs(10);
        for port in (1024..).take(usize::try_from(CLIENTS).unwrap()) {
            lab.host().arrive(socket(family), family.outside(port), b"x", None);
            lab.host_side();
            lab.got();
        }
        lab.moved(&[(Reason::PublishedIn, CLIENTS + 1), (Reason::Evicted, 1)]);
        lab.udp_as(GuestKey(9), end, client, b"y", Shape::default());
        lab.flush();
        assert_eq!(lab.host().sent.pop().unwrap().to, client);
        lab.moved(&[(Reason::PublishedOut, 1)]);
        // The first of the crowd is the one that is forgotten.
        lab.udp(family.guest(80), family.outside(1024), b"y");
        lab.moved(&[(Reason::UdpOut, 1)]);
    }
}
