use core::time::Duration;

use super::*;
use crate::{BindingEnd, Engine, Event, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortPlan};
use crate::{PortSpec, SourceMode, VlanMode};

const NOW: Instant = Instant::EPOCH;

fn engine() -> Engine {
    let plan = NetworkPlan::validate(NetworkSpec { ports: 8, ..NetworkSpec::default() });
    Engine::new(plan.expect("a network"), [7; 16])
}

fn port(engine: &mut Engine, macs: &[MacAddr]) -> PortId {
    let network = NetworkPlan::validate(engine.network().clone()).expect("a network");
    let spec =
        PortSpec { macs: macs.to_vec(), source: SourceMode::default(), ..PortSpec::default() };
    let plan = PortPlan::validate(spec, &network).expect("a port");
    engine.add_port(plan).expect("room")
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn twins(number: u8) -> [IpAddr; 2] {
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into());
    [IpAddr::from([10, 0, 0, number]), v6.into()]
}

fn prefixes() -> [(IpNet, IpAddr); 2] {
    [
        ("10.7.0.0/16".parse().expect("a prefix"), "10.7.1.2".parse().expect("an address")),
        ("fd07::/48".parse().expect("a prefix"), "fd07::1:2".parse().expect("an address")),
    ]
}

fn events(engine: &mut Engine) -> Vec<Event> {
    core::iter::from_fn(|| engine.poll_event()).collect()
}

fn bind(engine: &mut Engine, port: PortId, address: impl Into<Address>) -> Result<(), BindError> {
    engine.bind(port, address, Lifetime::Forever, BindingSource::Configuration)
}

#[test]
fn an_address_has_one_owner_until_it_ends() {
    for ip in twins(5) {
        let mut engine = engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        assert_eq!(engine.owner_of(ip), None);
        bind(&mut engine, a, ip).expect("free");
        assert_eq!(engine.owner_of(ip), Some(Owner::Port(a)));
        let taken = BindError::Taken { address: ip.into(), owner: a };
        assert_eq!(bind(&mut engine, b, ip), Err(taken));
        bind(&mut engine, a, ip).expect("its own");
        assert!(engine.unbind(ip) && !engine.unbind(ip));
        bind(&mut engine, b, ip).expect("free again");
        let mut pool = Pool::new(PoolLimits { small: 1, large: 1, headers: 1 });
        engine.remove_port(&mut pool, b).expect("a live port");
        assert_eq!(engine.owner_of(ip), None);
        let address = Address::Ip(ip);
        let source = BindingSource::Configuration;
        assert_eq!(
            events(&mut engine),
            [
                Event::BindingMade { port: a, address, source },
                Event::BindingEnded { port: a, address, vlan: None, why: BindingEnd::Unbound },
                Event::BindingMade { port: b, address, source },
                Event::BindingEnded { port: b, address, vlan: None, why: BindingEnd::PortRemoved },
            ]
        );
    }
}

#[test]
fn a_planned_address_waits_for_its_guest() {
    for ip in twins(6) {
        let mut engine = engine();
        engine.plan_address(ip, mac(1)).expect("free");
        let (other, its) = (port(&mut engine, &[mac(2)]), port(&mut engine, &[mac(1)]));
        let planned = BindError::Planned { address: ip.into(), mac: mac(1) };
        assert_eq!(bind(&mut engine, other, ip), Err(planned));
        assert_eq!(engine.owner_of(ip), Some(Owner::Planned(mac(1))));
        bind(&mut engine, its, ip).expect("its plan");
        assert_eq!(engine.owner_of(ip), Some(Owner::Port(its)));
        assert!(engine.unbind(ip));
        assert_eq!(engine.owner_of(ip), Some(Owner::Planned(mac(1))), "the plan stays");
        engine.unplan_address(ip);
        bind(&mut engine, other, ip).expect("free");
        let taken = BindError::Taken { address: ip.into(), owner: other };
        assert_eq!(engine.plan_address(ip, mac(1)), Err(taken));
    }
}

#[test]
fn a_given_prefix_ends_the_first_use_of_its_addresses() {
    for (prefix, inside) in prefixes() {
        let mut engine = engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        use_first_as(&mut engine, a, inside.into()).expect("nobody's");
        let planned = host_after(inside);
        engine.plan_address(planned, mac(9)).expect("nobody's");
        // Something of it is somebody's by right: nothing is changed.
        let reserved = BindError::Planned { address: prefix.into(), mac: mac(9) };
        assert_eq!(bind(&mut engine, b, prefix), Err(reserved));
        assert_eq!(engine.owner_of(inside), Some(Owner::Port(a)));
        engine.unplan_address(planned);
        while engine.poll_event().is_some() {}
        bind(&mut engine, b, prefix).expect("it was only used first");
        assert_eq!(engine.owner_of(inside), Some(Owner::Port(b)));
        let why = BindingEnd::Given;
        let vlan = Some(1);
        let ended = Event::BindingEnded { port: a, address: inside.into(), vlan, why };
        assert_eq!(engine.poll_event(), Some(ended));
        // First use itself has no such right.
        let mut engine = self::engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        use_first_as(&mut engine, a, inside.into()).expect("nobody's");
        let taken = BindError::Taken { address: prefix.into(), owner: a };
        assert_eq!(use_first_as(&mut engine, b, prefix.into()), Err(taken));
    }
}

fn use_first_as(engine: &mut Engine, port: PortId, address: Address) -> Result<(), BindError> {
    engine.bind(port, address, Lifetime::Forever, BindingSource::FirstUse)
}

fn host_after(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() + 1).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() + 1).into(),
    }
}

#[test]
fn a_prefix_and_its_addresses_have_one_owner() {
    for (prefix, inside) in prefixes() {
        let mut engine = engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        bind(&mut engine, a, prefix).expect("free");
        assert_eq!(engine.owner_of(inside), Some(Owner::Port(a)));
        let taken = |address: Address| Err(BindError::Taken { address, owner: a });
        assert_eq!(bind(&mut engine, b, inside), taken(inside.into()));
        bind(&mut engine, a, inside).expect("inside its own prefix");
        let wider = IpNet::new(prefix.network(), prefix.prefix_len() - 3).expect("a prefix");
        assert_eq!(bind(&mut engine, b, wider), taken(wider.trunc().into()));
        assert!(engine.unbind(prefix));
        assert_eq!(bind(&mut engine, b, prefix), taken(prefix.into()), "an address inside is a's");
        assert!(engine.unbind(inside));
        bind(&mut engine, b, prefix).expect("free");
    }
}

#[test]
fn the_longest_prefix_says_whose_an_address_is() {
    for (prefix, inside) in prefixes() {
        let mut engine = engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        let narrow = IpNet::new(inside, prefix.prefix_len() + 4).expect("a prefix").trunc();
        assert_eq!(engine.binding_of(inside), None);
        bind(&mut engine, a, prefix).expect("free");
        bind(&mut engine, a, narrow).expect("inside its own prefix");
        let taken = Err(BindError::Taken { address: narrow.into(), owner: a });
        assert_eq!(bind(&mut engine, b, narrow), taken);
        for (gone, left) in [(prefix, narrow), (narrow, prefix)] {
            assert!(engine.unbind(gone));
            assert_eq!(engine.owner_of(gone), None);
            assert_eq!(engine.owner_of(left), Some(Owner::Port(a)));
            assert_eq!(engine.owner_of(inside), Some(Owner::Port(a)));
            bind(&mut engine, a, gone).expect("free again");
        }
        // An address that nobody has by itself has no binding, whatever it is in.
        assert_eq!(engine.binding_of(inside), None);
        bind(&mut engine, a, inside).expect("its own");
        assert_eq!(engine.binding_of(inside).and_then(|it| it.port), Some(a));
        let mut pool = Pool::new(PoolLimits { small: 1, large: 1, headers: 1 });
        engine.remove_port(&mut pool, a);
        assert_eq!(engine.owner_of(inside), None);
        bind(&mut engine, b, prefix).expect("nobody's");
        assert_eq!(engine.owner_of(inside), Some(Owner::Port(b)));
    }
}

#[test]
fn an_ethernet_address_is_bound_in_the_mac_table() {
    let mut engine = engine();
    let (a, b) = (port(&mut engine, &[mac(1)]), port(&mut engine, &[mac(2)]));
    bind(&mut engine, a, mac(3)).expect("free");
    assert_eq!(engine.owner_of(mac(3)), Some(Owner::Port(a)));
    let taken = |owner, number| Err(BindError::Taken { address: mac(number).into(), owner });
    assert_eq!(bind(&mut engine, b, mac(3)), taken(a, 3));
    assert_eq!(bind(&mut engine, b, mac(1)), taken(a, 1));
    engine.reserve_mac(mac(4));
    assert_eq!(bind(&mut engine, b, mac(4)), Err(BindError::Reserved(mac(4))));
    assert_eq!(engine.owner_of(mac(4)), Some(Owner::Reserved));
    assert_eq!(engine.bindings().filter(|b| matches!(b.address, Address::Mac(_))).count(), 4);
    assert!(engine.unbind(mac(3)) && !engine.unbind(mac(1)));
    assert_eq!(engine.owner_of(mac(3)), None);
    assert_eq!(engine.owner_of(mac(1)), Some(Owner::Port(a)));
}

#[test]
fn bindings_expire_and_can_be_renewed() {
    for ip in twins(9) {
        let mut engine = engine();
        let mut pool = Pool::new(PoolLimits { small: 1, large: 1, headers: 1 });
        let a = port(&mut engine, &[]);
        let after = |seconds| NOW + Duration::from_secs(seconds);
        let mut lease = |until| {
            let lifetime = Lifetime::Until(after(until));
            engine.bind(a, ip, lifetime, BindingSource::Lease).expect("free");
            engine.next_deadline()
        };
        assert_eq!(lease(10), Some(after(10)));
        assert_eq!(lease(20), Some(after(20)));
        engine.handle_timeout(after(19), &mut pool);
        assert_eq!(engine.owner_of(ip), Some(Owner::Port(a)));
        engine.handle_timeout(after(20), &mut pool);
        assert_eq!((engine.owner_of(ip), engine.next_deadline()), (None, None));
        let (vlan, why) = (None, BindingEnd::Expired);
        let ended = Event::BindingEnded { port: a, address: ip.into(), vlan, why };
        assert_eq!(events(&mut engine).last(), Some(&ended));
    }
}

/// A lease of an address that was configured: its end is the configuration's.
#[test]
fn a_weaker_source_takes_nothing_from_a_stronger_one() {
    use BindingSource::{Configuration, FirstUse, Lease, Plan};
    for ip in twins(9) {
        for (strong, weak) in
            [(Configuration, Plan), (Configuration, Lease), (Plan, Lease), (Lease, FirstUse)]
        {
            let mut engine = engine();
            let mut pool = Pool::new(PoolLimits { small: 1, large: 1, headers: 1 });
            let a = port(&mut engine, &[]);
            let until = |seconds| Lifetime::Until(NOW + Duration::from_secs(seconds));
            engine.bind(a, ip, Lifetime::Forever, strong).expect("free");
            for end in [10, 30] {
                engine.bind(a, ip, until(end), weak).expect("it has it");
                let its = engine.binding_of(ip).map(|it| (it.source, it.lifetime));
                assert_eq!(its, Some((strong, Lifetime::Forever)), "{weak:?}");
            }
            engine.handle_timeout(NOW + Duration::from_secs(60), &mut pool);
            assert_eq!(engine.owner_of(ip), Some(Owner::Port(a)));
            assert_eq!(engine.next_deadline(), None);
            // The other way round it is as the stronger says.
            assert!(engine.unbind(ip));
            engine.bind(a, ip, until(90), weak).expect("free");
            engine.bind(a, ip, until(80), strong).expect("it has it");
            let its = engine.binding_of(ip).map(|it| (it.source, it.lifetime));
            assert_eq!(its, Some((strong, until(80))), "{weak:?}");
        }
    }
}

/// What fails changes nothing: somebody's first use is not ended for what nobody gets.
#[test]
fn what_cannot_be_had_ends_nothing() {
    for (ip, (prefix, inside)) in twins(5).into_iter().zip(prefixes()) {
        let mut engine = engine();
        let (a, b) = (port(&mut engine, &[]), port(&mut engine, &[]));
        use_first_as(&mut engine, a, ip.into()).expect("nobody's");
        use_first_as(&mut engine, a, inside.into()).expect("nobody's");
        engine.set_binding_limits(BindingLimits { per_port: 0, total: 1000 });
        events(&mut engine);
        // As many as it may have.
        let until = Lifetime::Until(NOW + Duration::from_secs(60));
        let full = Err(BindError::PortLimit { port: b, limit: 0 });
        for address in [Address::from(ip), prefix.into()] {
            assert_eq!(engine.bind(b, address, until, BindingSource::Lease), full);
        }
        // Somebody was given it in another VLAN.
        engine.set_binding_limits(BindingLimits::default());
        let lease = |engine: &mut Engine, port, vlan| {
            engine.bind_in(port, Some(vlan), ip.into(), until, BindingSource::Lease)
        };
        lease(&mut engine, b, 2).expect("nobody's there");
        events(&mut engine);
        let c = port(&mut engine, &[]);
        let taken = Err(BindError::Taken { address: ip.into(), owner: b });
        assert_eq!(bind(&mut engine, c, ip), taken);
        assert_eq!(engine.plan_address(ip, mac(9)), taken);
        assert_eq!(lease(&mut engine, c, 2), taken);
        for ip in [ip, inside] {
            assert_eq!(engine.owner_of(ip), Some(Owner::Port(a)));
        }
        assert_eq!(events(&mut engine), []);
        // Where it is only a first use it gives way, and the other stays.
        lease(&mut engine, c, 1).expect("a used it first");
        let address = Address::Ip(ip);
        let (source, why) = (BindingSource::Lease, BindingEnd::Given);
        let ended = Event::BindingEnded { port: a, address, vlan: Some(1), why };
        let made = Event::BindingMade { port: c, address, source };
        assert_eq!(events(&mut engine), [ended, made]);
        assert_eq!(engine.bindings.owner_in(1, ip).0, Some(Owner::Port(c)));
        assert_eq!(engine.bindings.owner_in(2, ip).0, Some(Owner::Port(b)));
        assert_eq!(engine.bindings.owner_in(3, ip).0, None);
    }
}

#[test]
fn the_port_that_meets_a_bound_pays() {
    let mut engine = engine();
    // Eight ports: a share of two each, and sixteen for whoever needs more.
    engine.set_binding_limits(BindingLimits { per_port: 20, total: 32 });
    let ports: Vec<PortId> = (0..3).map(|_| port(&mut engine, &[])).collect();
    let mut use_first = |port, number: u32| {
        let ip = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
        engine.bind(port, ip, Lifetime::Forever, BindingSource::FirstUse)
    };
    let mut got = [0; 3];
    for number in 0..30 {
        for (nth, &port) in ports.iter().enumerate().take(2) {
            got[nth] += u32::from(use_first(port, number * 2 + nth as u32).is_ok());
        }
    }
    assert_eq!(got.iter().sum::<u32>(), 2 + 2 + 16);
    assert_eq!(use_first(ports[0], 1000), Err(BindError::TableFull));
    use_first(ports[2], 2000).expect("its share");
    use_first(ports[2], 2001).expect("its share");
    assert_eq!(use_first(ports[2], 2002), Err(BindError::TableFull));
    engine.set_binding_limits(BindingLimits { per_port: 2, total: 1000 });
    let address = IpAddr::from([10, 9, 9, 9]);
    let limit = engine.bind(ports[2], address, Lifetime::Forever, BindingSource::Lease);
    assert_eq!(limit, Err(BindError::PortLimit { port: ports[2], limit: 2 }));
    bind(&mut engine, ports[2], address).expect("configuration does not count");
}

#[test]
fn nobody_has_the_address_of_many() {
    let mut engine = engine();
    let a = port(&mut engine, &[]);
    for text in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
        let ip: IpAddr = text.parse().expect("an address");
        assert_eq!(bind(&mut engine, a, ip), Err(BindError::NotUnicast(ip.into())));
    }
    let group = MacAddr([1, 0, 0, 0, 0, 1]);
    assert_eq!(bind(&mut engine, a, group), Err(BindError::NotUnicast(group.into())));
    assert_eq!(engine.bindings().count(), 0);
}

fn trunk(engine: &mut Engine, vlans: &[u16]) -> PortId {
    let network = NetworkPlan::validate(engine.network().clone()).expect("a network");
    let vlan = VlanMode::Trunk { native: None, allowed: vlans.iter().copied().collect() };
    let spec = PortSpec { macs: [mac(1)].to_vec(), vlan, ..PortSpec::default() };
    engine.add_port(PortPlan::validate(spec, &network).expect("a port")).expect("room")
}

fn until(seconds: u64) -> Lifetime {
    Lifetime::Until(NOW + Duration::from_secs(seconds))
}

/// A guest has the same addresses in each of its VLANs, but not any number of them.
#[test]
fn an_address_in_several_vlans_counts_once() {
    for version in [0, 1] {
        let mut engine = engine();
        let a = trunk(&mut engine, &[1, 2]);
        let mut take = |number, vlan| {
            let (ip, source) = (twins(number)[version].into(), BindingSource::FirstUse);
            engine.bind_in(a, Some(vlan), ip, until(60), source)
        };
        for number in 1..=32 {
            assert_eq!(take(number, 1), Ok(()));
        }
        let full = Err(BindError::PortLimit { port: a, limit: 32 });
        assert_eq!(take(33, 1), full);
        // The same ones in another VLAN; these are bounded by themselves.
        for number in 1..=32 {
            assert_eq!(take(number, 2), if number <= 8 { Ok(()) } else { full });
        }
        // What ends in one of two VLANs makes no room for another address, unlike what ends in all.
        let [first, other] = [1, 20].map(|number| twins(number)[version]);
        assert!(engine.end_in(2, first, BindingEnd::Unbound));
        let take = |engine: &mut Engine, number, vlan| {
            let (ip, source) = (twins(number)[version].into(), BindingSource::FirstUse);
            engine.bind_in(a, Some(vlan), ip, until(60), source)
        };
        assert_eq!(take(&mut engine, 33, 1), full);
        assert!(engine.end_in(1, other, BindingEnd::Unbound));
        assert!(!engine.end_in(1, other, BindingEnd::Unbound));
        assert_eq!(take(&mut engine, 33, 1), Ok(()));
        assert_eq!(take(&mut engine, 34, 1), full);
        engine
            .bindings
            .table
            .iter()
            .for_each(|(_, place, _)| assert_ne!(place.address, other.into()));
    }
}

/// What ends in a VLAN in which nobody has the address is nobody's, wherever others have it.
#[test]
fn it_ends_where_somebody_has_it() {
    for ip in twins(5) {
        let mut engine = engine();
        let a = trunk(&mut engine, &[1, 2]);
        let source = BindingSource::Lease;
        engine.bind_in(a, Some(1), ip.into(), until(60), source).expect("nobody's");
        assert!(!engine.end_in(2, ip, BindingEnd::Outside));
        assert_eq!(engine.bindings.owner_in(1, ip).0, Some(Owner::Port(a)));
        engine.bind_in(a, Some(2), ip.into(), until(60), source).expect("nobody's");
        assert!(engine.end_in(2, ip, BindingEnd::Outside));
        assert!(!engine.end_in(2, ip, BindingEnd::Outside));
        assert_eq!(engine.bindings.owner_in(1, ip).0, Some(Owner::Port(a)));
    }
}

/// What the network gave in every VLAN is not ended by a server in one of them.
#[test]
fn a_server_of_one_vlan_shortens_nothing_that_the_network_gave() {
    use BindingSource::{FirstUse, Lease};
    for (ip, planned, source) in
        twins(5).into_iter().flat_map(|ip| [(ip, false, Lease), (ip, true, FirstUse)])
    {
        let mut engine = engine();
        let a = trunk(&mut engine, &[1, 2]);
        let vlan = planned.then_some(2);
        if planned {
            engine.plan_address(ip, mac(1)).expect("nobody's");
        }
        engine.bind_in(a, vlan, ip.into(), until(600), source).expect("free");
        engine.bind_in(a, Some(1), ip.into(), until(10), Lease).expect("it has it");
        let its =
            |engine: &Engine| engine.binding_of(ip).map(|it| (it.source, it.lifetime, it.vlan));
        assert_eq!(its(&engine), Some((source, until(600), None)));
        // Who gave it renews it.
        engine.bind_in(a, vlan, ip.into(), until(700), source).expect("it has it");
        assert_eq!(its(&engine), Some((source, until(700), None)));
        // Without the plan it is where the guest came for it.
        engine.unplan_address(ip);
        assert_eq!(its(&engine), Some((source, until(700), vlan)));
    }
    // A server gave it before there was a plan.
    for ip in twins(5) {
        let mut engine = engine();
        let a = trunk(&mut engine, &[1, 2]);
        engine.bind_in(a, Some(2), ip.into(), until(600), Lease).expect("free");
        engine.plan_address(ip, mac(1)).expect("it is its own");
        assert_eq!(engine.binding_of(ip).and_then(|it| it.vlan), None);
        // It renews what it gave.
        engine.bind_in(a, Some(2), ip.into(), until(700), Lease).expect("it has it");
        assert_eq!(engine.binding_of(ip).map(|it| it.lifetime), Some(until(700)));
        engine.unplan_address(ip);
        assert_eq!(engine.binding_of(ip).and_then(|it| it.vlan), Some(2));
    }
}

/// What a port had in one VLAN and has in all now was given to nobody else.
#[test]
fn who_is_given_what_he_has_is_not_told_of_another() {
    for ip in twins(5) {
        for plan in [false, true] {
            let mut engine = engine();
            let a = trunk(&mut engine, &[1, 2]);
            for vlan in [1, 2] {
                let source = BindingSource::FirstUse;
                engine.bind_in(a, Some(vlan), ip.into(), until(60), source).expect("nobody's");
            }
            events(&mut engine);
            if plan {
                engine.plan_address(ip, mac(1)).expect("its own");
            } else {
                bind(&mut engine, a, ip).expect("its own");
            }
            let (address, vlan, why) = (ip.into(), Some(2), BindingEnd::Unbound);
            assert_eq!(events(&mut engine), [Event::BindingEnded { port: a, address, vlan, why }]);
            assert_eq!(engine.bindings.owner_in(2, ip).0, Some(Owner::Port(a)));
        }
    }
}

/// One prefix within another, of which the inner one is leased in one VLAN alone.
#[test]
fn the_longest_prefix_of_a_vlan_says_whose_an_address_is() {
    for (prefix, inside) in prefixes() {
        let mut engine = engine();
        let a = trunk(&mut engine, &[1, 2]);
        bind(&mut engine, a, prefix).expect("free");
        let narrow = IpNet::new(inside, prefix.prefix_len() + 4).expect("a prefix").trunc();
        let source = BindingSource::Lease;
        engine.bind_in(a, Some(1), narrow.into(), until(60), source).expect("its own");
        for vlan in [1, 2, 3] {
            assert_eq!(engine.bindings.owner_in(vlan, inside).0, Some(Owner::Port(a)), "{vlan}");
        }
        assert!(engine.unbind(prefix));
        assert_eq!(engine.bindings.owner_in(1, inside).0, Some(Owner::Port(a)));
        assert_eq!(engine.bindings.owner_in(2, inside).0, None);
    }
}
