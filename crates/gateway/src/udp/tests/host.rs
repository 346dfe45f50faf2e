//! The same on the kernel's sockets, over loopback, which guests reach as `host.internal`.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use engine::{Instant, Pool, PoolLimits};
use sys::poll::{Events, Interest};
use wire::Offload;

use crate::harness::{BOTH, Family, GUEST, Got, Lab, Shape, plan};
use crate::{Gateway, Reason, Unbounded};

struct Real {
    gateway: Gateway,
    pool: Pool,
    now: Instant,
}

impl Real {
    /// A gateway whose guests may reach this port of the host.
    fn new(port: u16) -> Self {
        let mut plan = plan();
        plan.allow_host = vec![port.to_string().parse().unwrap()];
        Self {
            gateway: Gateway::new(plan, [1; 16]).unwrap(),
            pool: Pool::new(PoolLimits { small: 256, large: 16, headers: 16 }),
            now: Instant::EPOCH + Duration::from_secs(10),
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8], shape: Shape) {
        let (bytes, offload) = Lab::udp_frame(from, to, payload, shape);
        let frame = self.pool.copy_in(&bytes, offload).unwrap();
        self.gateway.receive(self.now, &mut self.pool, &Unbounded, GUEST, frame);
        self.gateway.flush(self.now, &mut self.pool, &Unbounded);
    }

    /// The next packet to the guest.
    fn wait(&mut self) -> Got {
        let poller = sys::poll::Poller::new().unwrap();
        poller.add(self.gateway.as_fd(), 1, Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        for _ in 0..100 {
            if let Some(frame) = self.gateway.poll_frame() {
                let bytes = self.pool.pieces(&frame).concat();
                let parsed = wire::parse(&bytes).unwrap();
                let offload: Offload = frame.offload();
                self.pool.release(frame);
                return Got { bytes, offload, parsed };
            }
            poller.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
            self.gateway.turn(self.now, &mut self.pool, &Unbounded);
        }
        panic!("nothing came: {:?}", self.gateway.counters());
    }
}

fn server(family: Family) -> (UdpSocket, u16) {
    let server = UdpSocket::bind(family.loopback(0)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[test]
fn a_round_trip() {
    for family in BOTH {
        let (server, port) = server(family);
        let mut real = Real::new(port);
        let (guest, remote) = (family.guest(4000), family.host_internal(port));
        let mut buffer = [0; 2048];
        for i in 0..3_u8 {
            real.send(guest, remote, &[i; 64], Shape::default());
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..len], [i; 64]);
            server.send_to(&[i + 1; 64], from).unwrap();
            let got = real.wait();
            got.check();
            assert_eq!((got.ends(), got.payload()), ((remote, guest), &[i + 1; 64][..]));
        }
        assert_eq!(real.gateway.counters().get(Reason::UdpOut), 3);
        assert_eq!(real.gateway.counters().get(Reason::UdpIn), 3);
    }
}

#[test]
fn trains_both_ways() {
    for family in BOTH {
        let (server, port) = server(family);
        let mut real = Real::new(port);
        let (guest, remote) = (family.guest(4000), family.host_internal(port));
        let shape = Shape { segment: Some(1000), ..Shape::default() };
        real.send(guest, remote, &[9; 4500], shape);
        let mut buffer = [0; 2048];
        let mut from = None;
        for expected in [1000, 1000, 1000, 1000, 500] {
            let (len, sender) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(len, expected);
            from = Some(sender);
        }
        let back: Vec<u8> = (0..6000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let fd = std::os::fd::AsFd::as_fd(&server);
        sys::inet::send::train(fd, from.unwrap(), std::iter::once(&back[..]), 1200).unwrap();
        let got = real.wait();
        got.check();
        assert_eq!((got.offload.gso.unwrap().size, got.payload()), (1200, &back[..]));
    }
}

#[test]
fn a_closed_port_is_unreachable_from_there() {
    for family in BOTH {
        let (server, port) = server(family);
        drop(server);
        let mut real = Real::new(port);
        let (guest, remote) = (family.guest(4000), family.host_internal(port));
        real.send(guest, remote, b"anybody?", Shape::default());
        let got = real.wait();
        got.check();
        assert_eq!(got.ips(), (remote.ip(), guest.ip()));
        assert_eq!(got.icmp(), if family.v6 { (1, 4) } else { (3, 3) });
        let quoted = got.quoted();
        quoted.check();
        assert_eq!((quoted.ends(), quoted.payload()), ((guest, remote), &b"anybody?"[..]));
        // And the next one is sent all the same.
        real.send(guest, remote, b"still?", Shape::default());
        assert_eq!(real.wait().quoted().payload(), b"still?");
        assert_eq!(real.gateway.counters().get(Reason::UdpOut), 2);
    }
}
