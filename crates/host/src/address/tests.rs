use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn plan() -> Plan {
    let subnet = "10.7.16.0/20".parse().expect("a subnet");
    Plan::new(name("default"), subnet, names::ipv6_prefix(&name("default")))
}

#[test]
fn ranges_are_disjoint_and_cover_the_subnet() {
    for subnet in ["10.7.16.0/20", "10.0.0.0/16", "10.0.0.0/8"] {
        let plan = Plan::new(
            name("default"),
            subnet.parse().expect("a subnet"),
            names::ipv6_prefix(&name("default")),
        );
        let last = plan.size() - 1;
        assert_eq!(plan.use_of(plan.address(0)), Some(Use::None));
        assert_eq!(plan.use_of(plan.gateway()), Some(Use::Gateway));
        assert_eq!(plan.use_of(plan.address(2)), Some(Use::Host));
        assert_eq!(plan.use_of(plan.address(15)), Some(Use::Fixed));
        assert_eq!(plan.use_of(plan.address(16)), Some(Use::Guest));
        assert_eq!(plan.use_of(plan.address(plan.size() / 2 - 1)), Some(Use::Guest));
        assert_eq!(plan.use_of(plan.address(plan.size() / 2)), Some(Use::Lease));
        assert_eq!(plan.use_of(plan.address(plan.size() / 4 * 3)), Some(Use::FirstCome));
        assert_eq!(plan.use_of(plan.address(last - 1)), Some(Use::FirstCome));
        assert_eq!(plan.use_of(plan.address(last)), Some(Use::None));
        assert_eq!(plan.use_of(Ipv4Addr::new(192, 0, 2, 1)), None);
    }
}

#[test]
fn a_guest_that_comes_back_has_the_addresses_it_had() {
    let mut plan = plan();
    let web = name("web");
    let first = plan.assign(&web, 1000, None).expect("room").assignment;
    assert_eq!(plan.use_of(first.ipv4), Some(Use::Guest));
    assert_eq!(first.mac, names::mac(&name("default"), &web));
    assert_eq!(first.ipv6, names::ipv6_address(plan.prefix(), first.mac));
    assert_eq!(plan.assign(&web, 1000, None), Err(AssignError::Present(web.clone())));
    plan.leave(&web);
    let error = plan.assign(&web, 1001, None);
    assert_eq!(error, Err(AssignError::OtherUser { name: web.clone(), uid: 1000 }));
    let second = plan.assign(&web, 1000, None).expect("it was away").assignment;
    assert_eq!((second.ipv4, second.mac, second.ipv6), (first.ipv4, first.mac, first.ipv6));
}

#[test]
fn a_chosen_mac_is_checked() {
    let mut plan = plan();
    let web = plan.assign(&name("web"), 0, None).expect("room").assignment;
    assert_eq!(
        plan.assign(&name("db"), 0, Some(web.mac)),
        Err(AssignError::MacTaken { mac: web.mac, owner: name("web") })
    );
    for bad in [MacAddr::BROADCAST, MacAddr::ZERO, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(plan.assign(&name("db"), 0, Some(bad)), Err(AssignError::BadMac(bad)));
    }
    assert_eq!(plan.guests().count(), 1, "a refusal changes nothing");
    let chosen = MacAddr([2, 0, 0x5e, 0, 0x53, 1]);
    let db = plan.assign(&name("db"), 0, Some(chosen)).expect("free");
    assert_eq!(db.assignment.ipv6.octets()[8..], [0, 0, 0x5e, 0xff, 0xfe, 0, 0x53, 1]);
    assert_eq!(db.previous_mac, None);
    plan.leave(&name("db"));
    let db = plan.assign(&name("db"), 0, None).expect("away");
    assert_eq!(db.previous_mac, Some(chosen));
}

#[test]
fn names_are_numbered_past_those_in_use() {
    let mut plan = plan();
    let sh = name("sh");
    for expected in ["sh", "sh-2", "sh-3"] {
        let free = plan.free_name(&sh, 1000, |_| false).expect("free");
        assert_eq!(free.as_str(), expected);
        plan.assign(&free, 1000, None).expect("free");
    }
    plan.leave(&name("sh-2"));
    assert_eq!(plan.free_name(&sh, 1000, |_| false), Some(name("sh-2")));
    assert_eq!(plan.free_name(&sh, 1001, |_| false), Some(name("sh-4")), "sh-2 is another user's");
    let port = |name: &Name| name.as_str() == "sh-2";
    assert_eq!(plan.free_name(&sh, 1000, port), Some(name("sh-4")), "sh-2 is a port's");
}

#[test]
fn the_guest_that_was_away_longest_gives_way() {
    let mut plan = plan();
    let guest = |number: usize| name(&format!("g-{number}"));
    for number in 0..GUESTS_PER_USER {
        plan.assign(&guest(number), 0, None).expect("room");
    }
    assert_eq!(plan.assign(&name("late"), 0, None), Err(AssignError::UserFull));
    for number in GUESTS_PER_USER..GUESTS_MAX {
        plan.assign(&guest(number), 1, None).expect("room");
    }
    assert_eq!(plan.assign(&name("late"), 2, None), Err(AssignError::Full));
    plan.leave(&guest(7));
    plan.leave(&guest(3));
    // Another user's guest that is away is not driven out of the plan, so nobody can take its addresses.
    assert_eq!(plan.assign(&name("late"), 1, None), Err(AssignError::UserFull));
    assert_eq!(plan.assign(&name("late"), 2, None), Err(AssignError::Full));
    let late = plan.assign(&name("late"), 0, None).expect("one is away");
    let mac = names::mac(&name("default"), &guest(7));
    let evicted = late.evicted.map(|(name, had)| (name, had.mac));
    assert_eq!(evicted, Some((guest(7), mac)));
    assert!(plan.guest(&guest(3)).is_some());
    assert_eq!(plan.guests().count(), GUESTS_MAX);
}

#[test]
fn declared_ports_keep_their_place_and_guests_do_not_take_it() {
    let mut plan = plan();
    let web = plan.assign(&name("web"), 1000, None).expect("room").assignment;
    let db = plan.assign(&name("db"), 1000, None).expect("room").assignment;
    plan.leave(&name("db"));
    let port = |text: &str, ipv4| {
        let mac = names::mac(&name("default"), &name(text));
        Declared { name: name(text), mac, ipv4 }
    };
    let fixed = plan.address(7);
    plan.declare(&[port("router", None), port("ntp", Some(fixed))]).expect("room");
    let router = plan.guest(&name("router")).expect("declared").clone();
    assert!(router.is_declared() && !router.is_present());
    assert_eq!(plan.use_of(router.ipv4), Some(Use::Guest));
    assert_eq!(plan.guest(&name("ntp")).expect("declared").ipv4, fixed);
    assert_eq!(
        plan.assign(&name("router"), 1000, None),
        Err(AssignError::Present(name("router"))),
        "no guest gets its name"
    );
    let before = plan.clone();
    assert_eq!(
        plan.declare(&[port("ntp", Some(web.ipv4))]),
        Err(AssignError::AddressTaken { address: web.ipv4, port: name("ntp"), owner: name("web") })
    );
    assert_eq!(plan, before, "a refusal changes nothing");
    // A guest that is away makes way; the port has its address by name again once it is not said any more.
    plan.declare(&[port("router", None), port("ntp", Some(db.ipv4))]).expect("db is away");
    assert!(plan.guest(&name("db")).is_none());
    assert_eq!(plan.guest(&name("router")).expect("declared").ipv4, router.ipv4);
    plan.declare(&[port("router", None)]).expect("room");
    assert!(!plan.guest(&name("ntp")).expect("remembered").is_declared());
}

#[test]
fn a_moved_plan_keeps_host_numbers() {
    let mut plan = plan();
    let web = plan.assign(&name("web"), 0, None).expect("room").assignment;
    let subnet: Ipv4Net = "172.20.0.0/16".parse().expect("a subnet");
    let prefix = names::ipv6_prefix(&name("other"));
    assert_eq!(plan.moved(subnet, prefix), None, "web is present");
    plan.leave(&name("web"));
    let moved = plan.moved(subnet, prefix).expect("nobody is present");
    let there = moved.guest(&name("web")).expect("kept");
    assert_eq!(moved.number(there.ipv4), plan.number(web.ipv4));
    assert_eq!(there.mac, web.mac);
    assert_eq!(there.ipv6.octets()[..8], prefix.octets()[..8]);
}

#[derive(Debug, Clone)]
enum Step {
    Join { guest: u8, uid: u8, mac: Option<u8> },
    Leave { guest: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..12_u8, 0..2_u8, proptest::option::weighted(0.2, 0..6_u8))
            .prop_map(|(guest, uid, mac)| Step::Join { guest, uid, mac }),
        2 => (0..12_u8).prop_map(|guest| Step::Leave { guest }),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever guests come and go: no two have one address, a guest keeps its IPv4 address, and every address
    /// is in its range.
    #[test]
    fn addresses_are_unique_and_stay(steps in steps()) {
        let mut plan = plan();
        let mut first: BTreeMap<Name, Ipv4Addr> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Join { guest, uid, mac } => {
                    let name = name(&format!("g{guest}"));
                    let mac = mac.map(|low| MacAddr([2, 0, 0, 0, 0, low]));
                    let before = plan.clone();
                    match plan.assign(&name, uid.into(), mac) {
                        Ok(assigned) => {
                            let ipv4 = assigned.assignment.ipv4;
                            prop_assert_eq!(*first.entry(name).or_insert(ipv4), ipv4);
                            prop_assert_eq!(assigned.evicted, None);
                        }
                        Err(_) => prop_assert_eq!(&plan, &before),
                    }
                }
                Step::Leave { guest } => plan.leave(&name(&format!("g{guest}"))),
            }
            let mut v4 = BTreeSet::new();
            let mut v6 = BTreeSet::new();
            let mut macs = BTreeSet::new();
            for (_, guest) in plan.guests() {
                prop_assert!(v4.insert(guest.ipv4) && v6.insert(guest.ipv6) && macs.insert(guest.mac));
                prop_assert_eq!(plan.use_of(guest.ipv4), Some(Use::Guest));
                prop_assert!(!guest.mac.is_multicast());
            }
        }
    }

}

proptest! {
    // Each case fills a whole plan.
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Names that hash alike, in a plan that is nearly full, still get addresses of their own.
    #[test]
    fn a_full_plan_has_no_duplicates(seed in 0..1000_u32) {
        let mut plan = plan();
        let mut v4 = BTreeSet::new();
        for number in 0..GUESTS_MAX {
            let guest = name(&format!("n{seed}-{number}"));
            let uid = u32::from(number < GUESTS_PER_USER);
            let assigned = plan.assign(&guest, uid, None).expect("room");
            prop_assert!(v4.insert(assigned.assignment.ipv4));
        }
    }
}
