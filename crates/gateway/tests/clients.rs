//! A whole stack that somebody else wrote (smoltcp) as a client of all services: it gets an
//! address by DHCP, makes one from the advertised prefix, and looks names up, over both families.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::Instant;
use gateway::services::{Datagram, Services, Solicitation};
use gateway::{GatewayEvent, GatewayPlan, GuestAddresses, GuestKey};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::wire::{DnsQueryType, EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use testkit::wires::Wires;
use wire::build::{Builder, Ipv6};
use wire::parse::Arp;
use wire::{L3, MacAddr, Transport, ndp};

const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);

/// The stack, the services, and what a router does between them.
struct World {
    plan: GatewayPlan,
    services: Services,
    wires: Wires,
    stack: Interface,
    sockets: SocketSet<'static>,
    now: Duration,
    events: Vec<GatewayEvent>,
}

impl World {
    /// A stack of one family.
    fn new(v6: bool) -> Self {
        let subnet = "10.5.16.0/20".parse().ok();
        let prefix = "fd00:1:2:3::/64".parse().ok();
        let plan = GatewayPlan::new("lab", GATEWAY, subnet, prefix);
        let mut services = Services::new(&plan, [5; 16]).expect("services");
        let web = GuestAddresses {
            key: None,
            mac: Some(MacAddr([2, 0, 0, 0, 1, 9])),
            v4: Some([10, 5, 16, 20].into()),
            v6: "fd00:1:2:3::20".parse().ok(),
        };
        services.set_guest("web", &web);
        let mut wires = Wires::ethernet(1500);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(CLIENT.0)));
        config.random_seed = 4;
        config.slaac = v6;
        let mut stack = Interface::new(config, &mut wires, smoltcp::time::Instant::ZERO);
        let link_local = Ipv6Addr::from(CLIENT.eui64_link_local());
        if v6 {
            stack.update_ip_addrs(|list| {
                list.push(IpCidr::new(IpAddress::Ipv6(link_local), 64)).expect("room");
            });
        }
        let sockets = SocketSet::new(Vec::new());
        let now = Duration::from_secs(50);
        Self { plan, services, wires, stack, sockets, now, events: Vec::new() }
    }

    fn instant(&self) -> Instant {
        Instant::EPOCH + self.now
    }

    /// Lets everybody work, and time pass, until `done` says what it waited for.
    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..5000 {
            let now = smoltcp::time::Instant::from_millis(self.now.as_millis() as i64);
            self.stack.poll(now, &mut self.wires, &mut self.sockets);
            while let Some(frame) = self.wires.tx.pop_front() {
                self.route(&frame);
            }
            self.services.handle_timeout(self.instant());
            while let Some(answer) = self.services.poll_answer() {
                let mut frame = vec![0; gateway::services::ANSWER_MAX];
                let len = answer.write(&mut frame).expect("a frame");
                frame.truncate(len);
                let to = match (answer.link, answer.destination) {
                    (Some(link), _) => link,
                    (None, IpAddr::V6(group)) if group.is_multicast() => ndp::multicast_mac(group),
                    (None, _) => CLIENT,
                };
                frame[..6].copy_from_slice(&to.0);
                frame[6..12].copy_from_slice(&GATEWAY.0);
                self.wires.rx.push_back(frame);
            }
            while let Some(event) = self.services.poll_event() {
                self.events.push(event);
            }
            if let Some(result) = done(self) {
                return result;
            }
            self.now += Duration::from_millis(10);
        }
        panic!(
            "the client waited in vain: {:?}",
            self.services.counters().iter().collect::<Vec<_>>()
        );
    }

    /// What the router does with a frame of the stack.
    fn route(&mut self, frame: &[u8]) {
        let parsed = wire::parse(frame).expect("a frame");
        let now = self.instant();
        let guest = GuestKey(3);
        let mac = parsed.src;
        match (parsed.l3, parsed.l4) {
            (Some(L3::Arp(arp)), _)
                if arp.operation == 1 && Some(arp.target_ip) == self.plan.gateway4() =>
            {
                self.answer_arp(&arp);
            }
            (Some(l3), Some(l4)) => {
                let (source, destination, hop_limit): (IpAddr, IpAddr, u8) = match l3 {
                    L3::Ipv4(ip) => (ip.source.into(), ip.destination.into(), ip.ttl),
                    L3::Ipv6(ip) => (ip.source.into(), ip.destination.into(), ip.hop_limit),
                    L3::Arp(_) => return,
                };
                let at = usize::from(l4.offset);
                let end = parsed.claimed_len().expect("a length");
                match (l4.transport, source) {
                    (Transport::Udp { source: from, destination: to, .. }, _) => {
                        let datagram = Datagram {
                            guest,
                            mac,
                            source: SocketAddr::new(source, from),
                            destination: SocketAddr::new(destination, to),
                            payload: &frame[at + 8..end],
                        };
                        assert!(self.services.datagram(now, &datagram), "{datagram:?}");
                    }
                    (Transport::Icmpv6 { kind: 133, .. }, IpAddr::V6(source)) => {
                        let message = &frame[at..end];
                        let solicitation = Solicitation { guest, mac, source, hop_limit, message };
                        assert!(self.services.solicitation(now, &solicitation));
                    }
                    (Transport::Icmpv6 { kind: 135, .. }, IpAddr::V6(source)) => {
                        self.answer_neighbour(source, &frame[at + 8..at + 24]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn answer_arp(&mut self, asked: &Arp) {
        let mut frame = vec![0; 64];
        let reply = Arp {
            operation: 2,
            sender_mac: GATEWAY,
            sender_ip: asked.target_ip,
            target_mac: asked.sender_mac,
            target_ip: asked.sender_ip,
        };
        let len = Builder::new(&mut frame).ethernet(CLIENT, GATEWAY).arp(&reply).finish();
        frame.truncate(len.expect("a frame"));
        self.wires.rx.push_back(frame);
    }

    fn answer_neighbour(&mut self, asker: Ipv6Addr, target: &[u8]) {
        let target = Ipv6Addr::from(*target.first_chunk::<16>().expect("an address"));
        if !self.plan.is_own(target.into()) || asker.is_unspecified() {
            return;
        }
        let mut frame = vec![0; 128];
        let header = Ipv6 { source: target, destination: asker, hop_limit: 255, ..Ipv6::default() };
        let flags = ndp::flag::ROUTER | ndp::flag::SOLICITED | ndp::flag::OVERRIDE;
        let len = Builder::new(&mut frame)
            .ethernet(CLIENT, GATEWAY)
            .ipv6(&header)
            .neighbour(ndp::kind::NEIGHBOUR_ADVERTISEMENT, flags, target, GATEWAY)
            .finish();
        frame.truncate(len.expect("a frame"));
        self.wires.rx.push_back(frame);
    }

    /// Gets an address by DHCP and uses it.
    fn configure(&mut self) -> (Ipv4Addr, Vec<Ipv4Addr>) {
        let handle = self.sockets.add(dhcpv4::Socket::new());
        let (address, router, servers) = self.until(|world| {
            let socket = world.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
            match socket.poll() {
                Some(dhcpv4::Event::Configured(config)) => {
                    Some((config.address, config.router, config.dns_servers.to_vec()))
                }
                _ => None,
            }
        });
        assert_eq!((address.prefix_len(), router), (20, self.plan.gateway4()));
        self.stack.update_ip_addrs(|list| {
            list.push(IpCidr::Ipv4(address)).expect("room");
        });
        (address.address(), servers)
    }

    fn look_up(&mut self, server: IpAddr, name: &str, kind: DnsQueryType) -> Option<Vec<IpAddr>> {
        let socket = dns::Socket::new(&[server.into()], vec![None]);
        let handle: SocketHandle = self.sockets.add(socket);
        let socket = self.sockets.get_mut::<dns::Socket<'_>>(handle);
        let query = socket.start_query(self.stack.context(), name, kind).expect("a question");
        let found = self.until(|world| {
            let socket = world.sockets.get_mut::<dns::Socket<'_>>(handle);
            match socket.get_query_result(query) {
                Ok(addresses) => Some(Some(addresses.into_iter().map(Into::into).collect())),
                Err(dns::GetQueryResultError::Pending) => None,
                Err(dns::GetQueryResultError::Failed) => Some(None),
            }
        });
        self.sockets.remove(handle);
        found
    }
}

#[test]
fn a_stack_is_configured_and_looks_names_up_v4() {
    let mut world = World::new(false);
    let (address, servers) = world.configure();
    let range = Ipv4Addr::new(10, 5, 24, 0)..Ipv4Addr::new(10, 5, 28, 0);
    assert!(range.contains(&address), "{address}");
    let bound = GatewayEvent::Bind {
        guest: GuestKey(3),
        mac: CLIENT,
        address: address.into(),
        lifetime: Duration::from_secs(3610),
    };
    assert_eq!(world.events[..2], [bound, GatewayEvent::LeasesChanged]);
    assert_eq!(servers, world.plan.gateway4().into_iter().collect::<Vec<_>>());
    let server = IpAddr::V4(servers[0]);
    let web = IpAddr::from([10, 5, 16, 20]);
    for name in ["web.lab.internal", "web", "WEB.LAB.INTERNAL"] {
        assert_eq!(world.look_up(server, name, DnsQueryType::A), Some(vec![web]), "{name}");
    }
    let host = world.plan.host4().expect("a subnet");
    let found = world.look_up(server, "host.internal", DnsQueryType::A);
    assert_eq!(found, Some(vec![host.into()]));
    assert_eq!(world.look_up(server, "nobody.lab.internal", DnsQueryType::A), None);
}

#[test]
fn a_stack_is_configured_and_looks_names_up_v6() {
    let mut world = World::new(true);
    world.services.set_outside(world.instant(), true);
    let expected = Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0xff, 0xfe00, 0x101);
    world.until(|world| world.stack.has_ip_addr(IpAddress::Ipv6(expected)).then_some(()));
    let server = IpAddr::V6(world.plan.gateway6().expect("a prefix"));
    let web: IpAddr = "fd00:1:2:3::20".parse().expect("an address");
    for name in ["web.lab.internal", "web", "WEB.LAB.INTERNAL"] {
        assert_eq!(world.look_up(server, name, DnsQueryType::Aaaa), Some(vec![web]), "{name}");
    }
    let host = world.plan.host6().expect("a prefix");
    let found = world.look_up(server, "host.internal", DnsQueryType::Aaaa);
    assert_eq!(found, Some(vec![host.into()]));
    assert_eq!(world.look_up(server, "nobody.lab.internal", DnsQueryType::Aaaa), None);
}
