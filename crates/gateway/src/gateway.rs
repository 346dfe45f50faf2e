//! The gateway of one network: its parts, and how they are driven.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use engine::{Frame, Instant, Pool};
use ipnet::IpNet;
use wire::MacAddr;
use wire::icmp_error::IcmpError;

use crate::backend::datagram::{DatagramBackend, Routes};
use crate::backend::{Backend, HostBackend, HostRoom, StreamError};
use crate::counters::GatewayCounters;
use crate::ctx::{Ctx, Room, Spent};
use crate::dispatch::Call;
use crate::event::GatewayEvent;
use crate::guests::{GuestKey, Guests};
use crate::host_allow::AllowHost;
use crate::host_reach::{self, HostReach, Reach};
use crate::icmp;
use crate::keyed::{Keyed, subkey};
use crate::packet;
use crate::path_mtus::PathMtus;
use crate::plan::{GatewayError, GatewayPlan, HostPort, Limits};
use crate::poll::{Events, Interest, Kind, Poller, Token};
use crate::publish::{PublishError, PublishId, PublishSpec, PublishedRange, Publishing};
use crate::report::{FlowReport, GatewayStatus, LeaseReport};
use crate::services::Services;
use crate::services::leases::SavedLease;
use crate::tcp::{Table, TcpLimits, Unreachable};
use crate::udp::{Datagrams, Host};

/// Reports of the poller that one turn handles.
const TURN: usize = 64;

/// Events that wait to be asked for; the oldest go.
const EVENTS_MAX: usize = 1024;

/// Where a named guest is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestAddresses {
    /// The port, while the guest is here.
    pub key: Option<GuestKey>,
    pub mac: Option<MacAddr>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// The gateway of one network.
#[derive(Debug)]
pub struct Gateway<B: Backend = HostBackend> {
    pub(crate) plan: GatewayPlan,
    pub(crate) poller: Poller,
    ready: Option<Events>,
    pub(crate) counters: GatewayCounters,
    pub(crate) guests: Guests,
    pub(crate) out: VecDeque<Frame>,
    pub(crate) spent: Spent,
    pub(crate) id: u16,
    pub(crate) host: Host<B::Datagrams>,
    pub(crate) datagrams: Datagrams<B::Datagrams>,
    pub(crate) tcp: Table<B::Streams>,
    pub(crate) services: Services,
    pub(crate) publishing: Publishing<B>,
    pub(crate) fragments: crate::fragments::Fragments,
    pub(crate) paths: PathMtus,
    events: VecDeque<GatewayEvent>,
    /// Default routes of the host, of IPv4 and of IPv6; none until it was first asked.
    outside: Option<(bool, bool)>,
    /// The epoch of the host's addresses in which connections that are not open yet were judged last.
    judged: u32,
    /// For messages that are in two pieces.
    pub(crate) scratch: Vec<u8>,
}

/// The surroundings of a call, of a gateway's fields and the caller's arguments.
macro_rules! ctx {
    ($gateway:ident, $pool:expr, $room:expr) => {
        $crate::ctx::Ctx {
            pool: $pool,
            out: &mut $gateway.out,
            room: $room,
            spent: &mut $gateway.spent,
            counters: &mut $gateway.counters,
            guests: &mut $gateway.guests,
            poller: &$gateway.poller,
            plan: &$gateway.plan,
            mtu: usize::from($gateway.plan.mtu),
            paths: &$gateway.paths,
            id: &mut $gateway.id,
        }
    };
}
pub(crate) use ctx;

impl Gateway {
    /// A gateway without flows on the host's sockets. `hash_key` is secret and random: tables that
    /// guests fill are hashed with it.
    ///
    /// # Errors
    /// The plan cannot be carried out, or no descriptor is left.
    pub fn new(plan: GatewayPlan, hash_key: [u8; 16]) -> Result<Self, GatewayError> {
        Self::with_poller(plan, hash_key, Poller::new().map_err(GatewayError::Poller)?)
    }

    /// As [`Gateway::new`], and its descriptors are watched by this poller.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn with_poller(
        plan: GatewayPlan,
        hash_key: [u8; 16],
        poller: Poller,
    ) -> Result<Self, GatewayError> {
        plan.check()?;
        let backend = HostBackend::new().map_err(GatewayError::Poller)?;
        Self::with_parts(plan, hash_key, backend, poller)
    }
}

impl<B: Backend> Gateway<B> {
    /// A gateway on another backend than the host's sockets.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn with_backend(
        plan: GatewayPlan,
        hash_key: [u8; 16],
        backend: B,
    ) -> Result<Self, GatewayError> {
        Self::with_parts(plan, hash_key, backend, Poller::new().map_err(GatewayError::Poller)?)
    }

    fn with_parts(
        plan: GatewayPlan,
        hash_key: [u8; 16],
        backend: B,
        poller: Poller,
    ) -> Result<Self, GatewayError> {
        plan.check()?;
        let limits = within(&plan, B::room());
        let key = |purpose| subkey(&hash_key, purpose);
        let keyed = Keyed::new(key("tables"));
        let (streams, datagrams) = backend.split();
        let services = Services::new(&plan, key("services")).map_err(GatewayError::Poller)?;
        let readable = Interest::READABLE;
        poller
            .add(services.as_fd(), Token::new(Kind::Service, 0, 0), readable)
            .map_err(GatewayError::Poller)?;
        if let Some(changes) = datagrams.changes() {
            poller
                .add(changes, Token::new(Kind::Route, 0, 0), readable)
                .map_err(GatewayError::Poller)?;
        }
        Ok(Self {
            poller,
            ready: Some(Events::with_capacity(TURN)),
            counters: GatewayCounters::default(),
            guests: Guests::new(limits, keyed),
            out: VecDeque::new(),
            spent: Spent::default(),
            id: first_id(&key("identification")),
            host: Host {
                backend: datagrams,
                reach: HostReach::new(keyed),
                allow: AllowHost::new(plan.allow_host.clone(), keyed),
                out_of_descriptors: false,
                echo_refused: [None, None],
            },
            datagrams: Datagrams::new(keyed),
            tcp: Table::new(streams, tcp_limits(limits), &key("tcp")),
            services,
            publishing: Publishing::new(keyed),
            fragments: crate::fragments::Fragments::new(keyed),
            paths: PathMtus::new(keyed),
            events: VecDeque::new(),
            outside: None,
            judged: 0,
            scratch: Vec::new(),
            plan,
        })
    }

    /// Takes a changed plan. Flows stay where they are; what they may no longer do, they no longer
    /// begin.
    ///
    /// # Errors
    /// The plan cannot be carried out; nothing is changed.
    pub fn apply(&mut self, now: Instant, plan: GatewayPlan) -> Result<(), GatewayError> {
        plan.check()?;
        let limits = within(&plan, B::room());
        self.guests.set_limits(limits);
        self.tcp.set_limits(tcp_limits(limits));
        self.host.allow.configure(plan.allow_host.clone());
        // A flow that was allowed asks again.
        self.host.reach.forget();
        self.services.apply(now, &plan);
        self.plan = plan;
        // Asked again, since what is told of it depends on the plan.
        self.outside = None;
        self.take_events();
        Ok(())
    }

    /// What it does now.
    #[must_use]
    pub fn plan(&self) -> &GatewayPlan {
        &self.plan
    }

    /// The bounds that hold now: those of the plan, within this gateway's part of the descriptors and of the
    /// host's ports.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.guests.limits()
    }

    /// Readable when [`Self::turn`] has something to do; level triggered. Of a gateway that shares
    /// its owner's poller this is that poller.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    /// Takes a packet that the router has for the gateway's own addresses or for the outside. What
    /// it leads to may wait for [`Self::flush`].
    pub fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        frame: Frame,
    ) {
        self.dispatch(&mut Call { now, pool, room, guest }, frame);
    }

    /// Ends a batch of [`Self::receive`]: sends and acknowledges what was collected.
    pub fn flush(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.flush(now, &mut ctx, &mut self.host);
        self.tcp.turn(now, &mut ctx);
        self.settle(now, pool, room);
    }

    /// Does what the host's side has ready: at most one batch of descriptors, or what
    /// [`Self::host_ready`] was told of since.
    pub fn turn(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        let Some(mut ready) = self.ready.take() else { return };
        // An epoll instance of ours does not fail.
        let _ = self.poller.take(&mut ready);
        for event in ready.iter() {
            if let Some(token) = Poller::token(&event) {
                self.host_ready(now, pool, room, token, &event);
            }
        }
        self.ready = Some(ready);
        let mut ctx = ctx!(self, pool, room);
        if self.datagrams.wants_room() {
            self.datagrams.retry(now, &mut ctx, &mut self.host);
        }
        self.tcp.turn(now, &mut ctx);
        self.settle(now, pool, room);
    }

    /// One report of the poller, where the owner takes them; [`Self::turn`] is to follow.
    pub fn host_ready(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        token: Token,
        event: &crate::poll::Event,
    ) {
        // Whom a guest wanted to reach may have become the host before he was.
        let opens = token.kind == Kind::Tcp && self.tcp.pending(token).is_some();
        if opens || token.kind == Kind::Route {
            self.host.reach.refresh(&mut self.host.backend);
        }
        let mut ctx = ctx!(self, pool, room);
        if self.judged != self.host.reach.epoch() && (opens || token.kind == Kind::Route) {
            self.judged = self.host.reach.epoch();
            let (plan, host) = (&self.plan, &mut self.host);
            self.tcp.refuse_pending(now, &mut ctx, |remote| {
                !plan.is_host_internal(remote.ip())
                    && host.reach.judge(&mut host.backend, remote.ip()) == Reach::Host
            });
        }
        match token.kind {
            Kind::Tcp => self.tcp.host_ready(now, &mut ctx, token, event),
            Kind::Udp | Kind::Icmp => self.datagrams.host_ready(
                now,
                &mut ctx,
                &mut self.host,
                token,
                event.readable,
                event.hangup,
            ),
            Kind::PublishTcp => self.publishing.accept(now, &mut ctx, &mut self.tcp, token),
            Kind::PublishUdp => {
                self.publishing.datagrams(now, &mut ctx, &mut self.host, token, event.hangup);
            }
            Kind::Route => self.routes_changed(now),
            Kind::Service => self.services.turn(now),
        }
    }

    /// Whether something waits in host sockets for room in a guest's queue, so that
    /// [`Self::turn`] should be called after such a queue has drained.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        self.datagrams.wants_room() || self.tcp.wants_room()
    }

    /// The next packet towards a guest, for the router.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let frame = self.out.pop_front();
        if frame.is_none() {
            self.spent.clear();
        }
        frame
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.outside.is_none() || self.tcp.wants_turn() || self.datagrams.wants_retry() {
            return Some(Instant::EPOCH);
        }
        [
            self.datagrams.next_deadline(),
            self.tcp.next_deadline(),
            self.services.next_deadline(),
            self.publishing.next_deadline(),
            self.fragments.next_deadline(),
            self.paths.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        if self.outside.is_none() {
            self.ask_outside(now);
            for v6 in [false, true] {
                let refused = self.host.backend.probe_echo(v6).err().map(|error| error.kind());
                self.host.echo_refused[usize::from(v6)] = refused;
            }
        }
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.handle_timeout(now, &mut ctx);
        if self.datagrams.wants_retry() {
            self.datagrams.retry(now, &mut ctx, &mut self.host);
        }
        self.fragments.handle_timeout(now, &mut ctx);
        self.publishing.handle_timeout(now, &mut ctx);
        self.tcp.handle_timeout(now, &mut ctx);
        self.tcp.turn(now, &mut ctx);
        self.paths.handle_timeout(now);
        self.services.handle_timeout(now);
        self.settle(now, pool, room);
    }

    /// Turns what the parts have left into frames and events.
    fn settle(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        if self.host.reach.take_changed() {
            self.ask_outside(now);
        }
        let mut ctx = ctx!(self, pool, room);
        while let Some(unreachable) = self.tcp.poll_unreachable() {
            tell_unreachable(now, &mut ctx, unreachable);
        }
        while let Some(answer) = self.services.poll_answer() {
            packet::emit_answer(&mut ctx, &answer);
        }
        self.take_events();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.services.poll_event() {
            self.event(event);
        }
    }

    fn event(&mut self, event: GatewayEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The kernel told of a change of its addresses or routes.
    fn routes_changed(&mut self, now: Instant) {
        self.host.reach.refresh(&mut self.host.backend);
        if self.host.reach.take_changed() {
            self.ask_outside(now);
        }
    }

    fn ask_outside(&mut self, now: Instant) {
        let (v4, v6) = host_reach::outside(&mut self.host.backend);
        if self.outside != Some((v4, v6)) {
            self.outside = Some((v4, v6));
            self.services.set_outside(now, v6 && self.plan.nat);
            self.publishing.set_way6(v6);
            self.event(GatewayEvent::OutsideChanged { v4, v6 });
        }
    }

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<GatewayEvent> {
        self.events.pop_front()
    }

    /// Tells where a named guest is, or what it would have if it came (`key` is `None` then).
    pub fn set_guest(&mut self, name: &str, addresses: GuestAddresses) {
        self.services.set_guest(name, &addresses);
        self.publishing.set_guest(name, addresses);
        self.take_events();
    }

    /// A name is no longer in use.
    pub fn remove_guest(&mut self, name: &str) {
        self.services.remove_guest(name);
        self.publishing.remove_guest(name);
        self.take_events();
    }

    /// The port behind a key is gone: its flows end, and the key may come again for another.
    pub fn guest_gone(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room, guest: GuestKey) {
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.guest_gone(&mut ctx, guest);
        self.tcp.guest_gone(now, &mut ctx, guest);
        self.fragments.guest_gone(&mut ctx, guest);
        self.tcp.turn(now, &mut ctx);
        self.paths.guest_gone(guest);
        self.host.allow.guest_gone(guest);
        self.publishing.guest_gone(guest);
        self.services.guest_gone(guest);
        self.guests.forget(guest);
        self.take_events();
    }

    /// Addresses of a guest are not its own any more: their flows end. Whoever has them next begins
    /// with none.
    pub fn addresses_gone(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        addresses: IpNet,
    ) {
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.addresses_gone(&mut ctx, addresses);
        self.tcp.addresses_gone(now, &mut ctx, addresses);
        self.fragments.addresses_gone(&mut ctx, addresses);
        self.publishing.addresses_gone(addresses);
        self.tcp.turn(now, &mut ctx);
        self.paths.addresses_gone(addresses);
        self.take_events();
    }

    /// Opens ports of the host that lead to a guest.
    ///
    /// # Errors
    /// A sentence for people: a port is taken or privileged, an address is not the host's ...
    pub fn publish(&mut self, spec: PublishSpec) -> Result<PublishId, PublishError> {
        self.publishing.publish(&self.poller, &mut self.host, spec)
    }

    /// Closes them again. False if there were none of this name. Flows of TCP that are open stay.
    pub fn unpublish(&mut self, id: PublishId) -> bool {
        self.publishing.unpublish(id)
    }

    /// What is published.
    pub fn published(&self) -> impl Iterator<Item = PublishedRange> + '_ {
        self.publishing.published()
    }

    /// Lets one guest (or all) reach a port of the host as `host.internal`.
    pub fn allow_host(&mut self, guest: Option<GuestKey>, port: HostPort) {
        self.host.allow.add(guest, port);
    }

    /// The flows that are open now.
    pub fn flows(&self, now: Instant) -> impl Iterator<Item = FlowReport> + '_ {
        self.tcp
            .flows(now)
            .chain(self.datagrams.reports(now, &self.plan))
            .chain(self.publishing.reports(now))
    }

    /// The leases that are given out now.
    pub fn leases(&self, now: Instant) -> impl Iterator<Item = LeaseReport> + '_ {
        self.services.leases(now).into_iter()
    }

    /// Leases that were kept in the state directory; `unix` is the time of day in seconds.
    pub fn load_leases(&mut self, now: Instant, unix: u64, saved: Vec<SavedLease>) {
        self.services.load_leases(now, unix, saved);
        self.take_events();
    }

    /// All leases, to be kept.
    #[must_use]
    pub fn saved_leases(&self, now: Instant, unix: u64) -> Vec<SavedLease> {
        self.services.saved_leases(now, unix)
    }

    /// Somebody else has an address that was leased.
    pub fn refuse_lease(&mut self, now: Instant, address: Ipv4Addr) {
        self.services.refuse_lease(now, address);
        self.take_events();
    }

    /// The network is about to end: guests are told that this is no way out any more.
    pub fn farewell(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        self.services.farewell(now);
        self.settle(now, pool, room);
    }

    /// It is taken away, and with it what it has open outside. [`Gateway::poll_frame`] has the rest.
    pub fn close(&mut self, now: Instant, pool: &mut Pool, room: &dyn Room) {
        let mut ctx = ctx!(self, pool, room);
        self.tcp.close(now, &mut ctx);
        self.fragments.clear(&mut ctx);
    }

    /// The network's own services.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What became of the packets.
    #[must_use]
    pub fn counters(&self) -> &GatewayCounters {
        &self.counters
    }

    /// What works at this host.
    #[must_use]
    pub fn status(&self) -> GatewayStatus {
        let (outside_v4, outside_v6) = self.outside.unwrap_or_default();
        let [_, udp, echo] = self.guests.flows();
        let refused = |v6: usize| {
            self.host.echo_refused[v6].map(|kind| match kind {
                std::io::ErrorKind::PermissionDenied => {
                    "the host gives this user no ICMP sockets; the administrator can allow them, with `sysctl -w \
                     net.ipv4.ping_group_range=\"0 2147483647\"`"
                        .to_owned()
                }
                other => format!("the host gives no ICMP sockets: {other}"),
            })
        };
        GatewayStatus {
            outside_v4,
            outside_v6,
            echo_v4: refused(0),
            echo_v6: refused(1),
            resolvers: self.services.resolvers(),
            flows: [self.tcp.len(), udp + self.publishing.clients(), echo],
            flows_max: self.limits().flows + self.publishing.clients_max(),
            out_of_descriptors: self.host.out_of_descriptors,
        }
    }
}

/// A connection of a guest was not made, and an ICMP message says so: that of the outside, from whom it
/// came, or one of ours.
fn tell_unreachable(now: Instant, ctx: &mut Ctx<'_>, unreachable: Unreachable) {
    let Unreachable { guest, quote, ends, error, report } = unreachable;
    let mut headers = [0; packet::HEADERS];
    let len = packet::gather(ctx.pool, &quote, &mut headers);
    let bytes = headers.get(..len).unwrap_or_default();
    if let Some(report) = report {
        let quoted = bytes.get(packet::ETHERNET..).unwrap_or_default();
        icmp::pass_on(ctx, now, guest, ends, &report, quoted);
    } else if let Ok(parsed) = wire::parse(bytes) {
        let error = match error {
            StreamError::HostUnreachable => IcmpError::AddressUnreachable,
            StreamError::Prohibited => IcmpError::Prohibited,
            _ => IcmpError::NoRoute,
        };
        icmp::refuse(ctx, now, guest, &parsed, &quote, error);
    }
    ctx.pool.release(quote);
}

/// The first IP identification, which every guest sees.
fn first_id(key: &[u8; 16]) -> u16 {
    u16::from_ne_bytes([key[0], key[1]])
}

/// The bounds of a plan, within what there is.
fn within(plan: &GatewayPlan, room: HostRoom) -> Limits {
    let limits = plan.limits.within(room.descriptors, room.ports, plan.gateways);
    Limits { flows: limits.flows.min(Token::PLACES / 2), ..limits }
}

fn tcp_limits(limits: Limits) -> TcpLimits {
    TcpLimits {
        flows: limits.flows,
        flows_per_guest: limits.flows_per_guest,
        ..TcpLimits::default()
    }
}
